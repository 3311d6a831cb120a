#include "worker/images_record.h"

#include "model/codec_impl.h"

TUTTI_INSTANTIATE_CODEC(tutti::worker::LayerMarker);
TUTTI_INSTANTIATE_CODEC(tutti::worker::ImageRecord);

namespace tutti::worker {

Result<LayerMarker> parse_layer_marker(std::string_view json) {
  return from_json<LayerMarker>(json, {.allow_unknown = true, .what = "layer marker"});
}
Result<ImageRecord> parse_image_record(std::string_view json) {
  return from_json<ImageRecord>(json, {.allow_unknown = true, .what = "image record"});
}
std::string format(const LayerMarker& marker) {
  return to_json(marker);
}
std::string format(const ImageRecord& record) {
  return to_json(record);
}

}  // namespace tutti::worker
