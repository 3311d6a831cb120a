// The codec for the types of instance.h and plan.h.
#include "model/codec_impl.h"
#include "model/codec_types.inc"
#include "model/instance.h"
#include "model/plan.h"

#define TUTTI_CODEC_ONE(type) TUTTI_INSTANTIATE_CODEC(type);
TUTTI_CODEC_INSTANCE_TYPES(TUTTI_CODEC_ONE)
