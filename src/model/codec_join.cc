// The codec of the join messages.
#include "model/codec_impl.h"
#include "model/join.h"

TUTTI_INSTANTIATE_CODEC(tutti::JoinRequest);
TUTTI_INSTANTIATE_CODEC(tutti::JoinAnswer);
