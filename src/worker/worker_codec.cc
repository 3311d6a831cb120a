// The codec of what the worker keeps on disk.
#include "model/codec_impl.h"
#include "worker/records.h"

TUTTI_INSTANTIATE_CODEC(tutti::worker::InstanceRecord);
TUTTI_INSTANTIATE_CODEC(tutti::worker::NodeIdentity);
