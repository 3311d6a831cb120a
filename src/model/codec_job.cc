// The codec for the types of job.h.
#include "model/codec_impl.h"
#include "model/codec_types.inc"
#include "model/job.h"

#define TUTTI_CODEC_ONE(type) TUTTI_INSTANTIATE_CODEC(type);
TUTTI_CODEC_JOB_TYPES(TUTTI_CODEC_ONE)
