// Images: the catalog's rows; the bytes are at /v2/ (catalog/distribution.h).
#include <fcntl.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/random.h"
#include "base/text.h"
#include "catalog/fetch.h"
#include "catalog/import.h"
#include "catalog/manifest.h"
#include "manager/api/list.h"
#include "manager/api/requests.h"
#include "manager/api/routes.h"
#include "manager/api/views.h"
#include "manager/images.h"
#include "model/oci.h"

namespace tutti::manager {

void list_images(CallPtr call) {
  if (call->flag("watch")) return watch_table(call, TableId::image);
  const bool all = call->flag("all");  // also manifests that were pushed by digest, without a tag
  answer_list(
      call, call->state->images, [all](const Image& image) { return all || !oci::is_digest(image.tag); },
      [call](const Image& image) { return render(*call->state, image); });
}

void get_image(CallPtr call) {
  const Snapshot& s = *call->state;
  std::string name = call->param("repository");
  std::string tag;
  const size_t colon = name.rfind(':');
  if (colon != std::string::npos && name.find('/', colon) == std::string::npos)
    tag = name.substr(colon + 1), name.resize(colon);
  std::string body = "{\"items\":[";
  bool first = true;
  s.images.for_each([&](uint64_t, const Image& image) {
    if (image.repository != name || (tag.empty() ? oci::is_digest(image.tag) : image.tag != tag)) return;
    if (!std::exchange(first, false)) body += ',';
    body += render(s, image);
  });
  if (first)
    return answer_error(
        *call, Error{ErrorCode::not_found, "no image '" + call->param("repository") + "' in the catalog", {}, 0});
  answer_json(*call, 200, body + "]}");
}

void delete_image(CallPtr call) {
  const std::string tag = call->query("tag").empty() ? "latest" : call->query("tag");
  const Image* image = call->state->image_by_tag(call->param("repository"), tag);
  if (image == nullptr)
    return answer_error(*call, Error{ErrorCode::not_found, "no image " + call->param("repository") + ":" + tag, {}, 0});
  commit_object(call, state::DeleteImage{image->id}, 200);
}

namespace {

struct Import {
  CallPtr call;
  std::string file;
  int fd = -1;
  oci::Reference reference;

  ~Import() {
    if (fd >= 0) ::close(fd);
    if (!file.empty()) ::unlink(file.c_str());
  }

  static void next(const std::shared_ptr<Import>& self) {
    self->call->responder->body()->read([self](Result<std::string> piece) {
      if (!piece) return answer_error(*self->call, piece.error());
      if (piece->empty()) return received(self);
      // A few hundred KiB at a time into the page cache; the disk's own work is left to the kernel.
      size_t at = 0;
      while (at < piece->size()) {
        const ssize_t n = ::write(self->fd, piece->data() + at, piece->size() - at);
        if (n < 0) return answer_error(*self->call, fail_errno("write " + self->file, errno).value());
        at += static_cast<size_t>(n);
      }
      next(self);
    });
  }

  static void received(const std::shared_ptr<Import>& self) {
    Status queued = self->call->services.run_blocking([self] { self->import(); });
    if (!queued) answer_error(*self->call, queued.error());
  }

  void import() {
    catalog::ImportOptions options;
    if (call->query("kind") == "rootfs") options.kind = catalog::ImportKind::rootfs_tar;
    if (!call->query("entrypoint").empty()) options.rootfs.entrypoint = split(call->query("entrypoint"), ' ');
    if (!call->query("cmd").empty()) options.rootfs.cmd = split(call->query("cmd"), ' ');
    auto imported = catalog::import_image(call->services.content(), file, options);
    if (!imported) return answer_error(*call, imported.error());
    if (imported->empty()) return answer_error(*call, Error{ErrorCode::invalid, "the archive holds no image", {}, 0});
    const catalog::Imported& first = imported->front();
    Image image;
    image.repository =
        reference.registry.empty() ? reference.repository : reference.registry + "/" + reference.repository;
    image.tag = reference.tag;
    image.digest = first.digest;
    image.media_type = first.media_type;
    image.size.value = static_cast<int64_t>(first.size);
    image.architectures = first.architectures;
    image.source = "import";
    commit_object(call, state::PutImage{std::move(image)}, 201);
  }
};

}  // namespace

void import_image(CallPtr call) {
  auto reference = oci::parse_reference(call->query("reference"));
  if (!reference || !reference->digest.empty() || !catalog::is_repository(reference->repository) ||
      !catalog::is_tag(reference->tag)) {
    return answer_error(*call, Error{ErrorCode::invalid,
                                     "say what to call it",
                                     {{"reference", "is missing or is no name:tag", "?reference=busybox:1.36"}},
                                     0});
  }
  auto import = std::make_shared<Import>();
  import->call = call;
  import->reference = *reference;
  import->file = call->services.work_dir() + "/import-" + secure_random_hex(8) + ".tar";
  import->fd = ::open(import->file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (import->fd < 0) return answer_error(*call, fail_errno("open " + import->file, errno).value());
  Import::next(import);
}

namespace {

using Finished = std::function<void(Result<std::string>)>;

// Commits an operation that a thread of the pool drives, answers 202 with it, and lets `work` go; its sentence or error
// ends the operation. A manager that is killed meanwhile ends it as failed when it starts again.
void start_image_operation(CallPtr call, const std::string& kind, const std::string& argument,
                           const std::string& message, std::function<void(Finished)> work) {
  Operation operation;
  operation.kind = "image." + kind;
  operation.target_kind = "image";
  operation.argument = argument;
  operation.message = message;
  call->services.submit(
      state::StartOperation{operation}, meta_of(*call),
      [call, kind, work = std::move(work)](Result<state::Outcome> outcome) {
        if (!outcome) return answer_error(*call, outcome.error());
        const OperationId id = outcome->operation;
        auto& services = call->services;
        answer_json(*call, 202,
                    "{\"object\":null,\"operation\":" +
                        render_row(*services.snapshot(), TableId::operation, id.value, services.clock().now()) + "}",
                    {{"Location", "/v1/operations/" + to_text(id)}});
        if (outcome->replayed) return;
        work([&services, id, kind](Result<std::string> result) {
          state::UpdateOperation update;
          update.operation = id;
          update.state = result ? OperationState::succeeded : OperationState::failed;
          update.progress = result ? 100 : 0;
          update.message = result ? *result : result.error().to_string();
          update.steps = {{kind, update.state, update.message}};
          services.submit(std::move(update), {}, [](Result<state::Outcome>) {});
        });
      });
}

// Work that blocks, on the pool.
std::function<void(Finished)> on_the_pool(Services& services, std::function<Result<std::string>()> work) {
  return [&services, work = std::move(work)](const Finished& finished) {
    Status queued = services.run_blocking([work, finished] { finished(work()); });
    if (!queued) finished(tl::make_unexpected(queued.error()));
  };
}

}  // namespace

void start_pull(CallPtr call, const std::string& reference) {
  if (auto parsed = oci::parse_reference(reference); !parsed) return answer_error(*call, parsed.error());
  Services& services = call->services;
  start_image_operation(call, "fetch", reference, "fetching " + reference, [&services, reference](Finished finished) {
    services.resolve_image(reference, PullPolicy::always, std::move(finished));
  });
}

void start_push(CallPtr call, const PushRequest& request) {
  auto target = oci::parse_reference(request.target);
  if (!target || target->registry.empty() || !target->digest.empty()) {
    return answer_error(*call, Error{ErrorCode::invalid,
                                     "say where to push to",
                                     {{"target", "is not REGISTRY/NAME[:TAG]", "registry.example.com/app:1"}},
                                     0});
  }
  if (!find_in_catalog(*call->state, request.reference)) {
    return answer_error(*call, Error{ErrorCode::not_found,
                                     "no image " + request.reference + " in the catalog: 'tutti image list' shows them",
                                     {},
                                     0});
  }
  Services& services = call->services;
  // The credentials stay in memory: a retry has to bring them again.
  start_image_operation(
      call, "push", request.reference + " " + request.target, "pushing " + request.reference + " to " + request.target,
      on_the_pool(services, [&services, request] {
        return services.push_image(request.reference, request.target, {request.user, request.password});
      }));
}

void start_prune(CallPtr call, Duration grace) {
  Services& services = call->services;
  start_image_operation(call, "prune", format_duration(grace), "pruning the catalog",
                        on_the_pool(services, [&services, grace] { return services.prune_images(grace); }));
}

void pull_image(CallPtr call) {
  if (auto body = body_of<PullRequest>(*call)) start_pull(call, body->reference);
}

void push_image(CallPtr call) {
  if (auto body = body_of<PushRequest>(*call)) start_push(call, *body);
}

void prune_images(CallPtr call) {
  auto body = body_of<PruneRequest>(*call);
  if (!body) return;
  if (body->grace < seconds(limits::kPruneGraceSecondsMin)) {
    return answer_error(
        *call, Error{ErrorCode::invalid,
                     "a push that is under way needs its layers: the grace is at least " +
                         format_duration(seconds(limits::kPruneGraceSecondsMin)) + " (limit kPruneGraceSecondsMin)",
                     {{"grace", "too short", "1h"}},
                     0});
  }
  start_prune(call, body->grace);
}

}  // namespace tutti::manager
