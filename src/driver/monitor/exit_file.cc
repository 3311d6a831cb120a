#include "driver/monitor/exit_file.h"

#include "model/codec_impl.h"

TUTTI_INSTANTIATE_CODEC(tutti::driver::HandleFile);
TUTTI_INSTANTIATE_CODEC(tutti::driver::ExitFile);
