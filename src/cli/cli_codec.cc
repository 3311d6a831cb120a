// The codec of the command line's own file.
#include "cli/context.h"
#include "model/codec_impl.h"

TUTTI_INSTANTIATE_CODEC(tutti::cli::Context);
TUTTI_INSTANTIATE_CODEC(tutti::cli::Contexts);
