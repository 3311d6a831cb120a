// The codec for the types of session.h.
#include "model/codec_impl.h"
#include "model/codec_types.inc"
#include "model/session.h"

#define TUTTI_CODEC_ONE(type) TUTTI_INSTANTIATE_CODEC(type);
TUTTI_CODEC_SESSION_TYPES(TUTTI_CODEC_ONE)
