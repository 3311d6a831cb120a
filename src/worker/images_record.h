#pragma once
// What ImageStore keeps on disk beside the layers. Private to images*.cc. Plain values.

#include <boost/describe.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "model/oci.h"

namespace tutti::worker {

struct LayerMarker {
  std::string diff_id;
  std::string digest;  // of the blob it was unpacked from
  uint64_t bytes = 0;
  uint64_t entries = 0;
};
BOOST_DESCRIBE_STRUCT(LayerMarker, (), (diff_id, digest, bytes, entries))

struct ImageRecord {
  std::string reference;
  std::string digest;
  std::vector<std::string> layers;  // diff_ids, lowest first
  oci::ProcessConfig config;
};
BOOST_DESCRIBE_STRUCT(ImageRecord, (), (reference, digest, layers, config))

Result<LayerMarker> parse_layer_marker(std::string_view json);
Result<ImageRecord> parse_image_record(std::string_view json);
std::string format(const LayerMarker& marker);
std::string format(const ImageRecord& record);

}  // namespace tutti::worker
