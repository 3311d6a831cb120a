// The codec for the types of oci.h.
#include "model/codec_impl.h"
#include "model/codec_types.inc"
#include "model/oci.h"

#define TUTTI_CODEC_ONE(type) TUTTI_INSTANTIATE_CODEC(type);
TUTTI_CODEC_OCI_TYPES(TUTTI_CODEC_ONE)
