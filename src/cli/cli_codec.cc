// The codec of the command line's own structs.
#include "cli/context.h"
#include "cli/requests.h"
#include "model/codec_impl.h"

TUTTI_INSTANTIATE_CODEC(tutti::cli::Context);
TUTTI_INSTANTIATE_CODEC(tutti::cli::Contexts);
TUTTI_INSTANTIATE_CODEC(tutti::cli::PoolBody);
TUTTI_INSTANTIATE_CODEC(tutti::cli::ProjectBody);
TUTTI_INSTANTIATE_CODEC(tutti::cli::SignalBody);
TUTTI_INSTANTIATE_CODEC(tutti::cli::RebalanceBody);
