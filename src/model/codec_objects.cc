// The codec for the types of node.h and objects.h.
#include "model/codec_impl.h"
#include "model/codec_types.inc"
#include "model/node.h"
#include "model/objects.h"

#define TUTTI_CODEC_ONE(type) TUTTI_INSTANTIATE_CODEC(type);
TUTTI_CODEC_OBJECT_TYPES(TUTTI_CODEC_ONE)
