// The codec for the types of scheduler_session.h.
#include "model/codec_impl.h"
#include "model/codec_types.inc"
#include "model/scheduler_session.h"

#define TUTTI_CODEC_ONE(type) TUTTI_INSTANTIATE_CODEC(type);
TUTTI_CODEC_SCHEDULER_TYPES(TUTTI_CODEC_ONE)
