#include "tasks/tasks.hpp"

namespace vla {
namespace {

// What the configuration asks for, or what the task has of its own.
Index given_or(Index given, Index own) { return given != 0 ? given : own; }

constexpr std::string_view kMqarSettings[] = {"form",  "pairs",  "vocabulary",   "length",
                                              "power", "passes", "random-filler"};

std::unique_ptr<Task> make_mqar(const TaskConfig& config) {
  const MqarOptions own;
  const MqarForm form = parse_mqar_form(config.form);
  check(form != MqarForm::zoology_mix || config.pairs == 0, "mqar: pairs ", config.pairs,
        " is not for the form zoology-mix, which has sizes of its own; 0");
  return std::make_unique<Mqar>(
      MqarOptions{.form = form,
                  .pairs = given_or(config.pairs, own.pairs),
                  .vocabulary = given_or(config.vocabulary, own.vocabulary),
                  .length = config.length,
                  .power = config.power,
                  .passes = config.passes,
                  .random_filler = config.random_filler});
}

constexpr std::string_view kCopySettings[] = {"vocabulary", "length", "prefix", "shortest-prefix",
                                              "show-answers"};

// The length of the sequence follows from the prefix, so either of them says both.
std::unique_ptr<Task> make_copy(const TaskConfig& config) {
  const CopyOptions own;
  const Index length = config.length;
  check(length == 0 || (length >= 3 && length % 2 == 1), "copy: length ", length,
        " is not allowed; 2n + 1 for a prefix of n, an odd number from 3 on");
  const Index prefix = length == 0 ? given_or(config.prefix, own.prefix) : length / 2;
  check(config.prefix == 0 || prefix == config.prefix, "copy: length ", length,
        " does not fit prefix ", config.prefix, "; 0 for what follows from the prefix, or prefix ",
        prefix);
  return std::make_unique<Copy>(
      CopyOptions{.vocabulary = given_or(config.vocabulary, own.vocabulary),
                  .prefix = prefix,
                  .shortest_prefix = config.shortest_prefix,
                  .show_answers = config.show_answers});
}

constexpr std::string_view kDelayedRecallSettings[] = {"vocabulary", "length", "delay"};

std::unique_ptr<Task> make_delayed_recall(const TaskConfig& config) {
  const DelayedRecallOptions own;
  return std::make_unique<DelayedRecall>(
      DelayedRecallOptions{.vocabulary = given_or(config.vocabulary, own.vocabulary),
                           .delay = given_or(config.delay, own.delay),
                           .length = config.length});
}

constexpr std::string_view kAssociativeRecallSettings[] = {"pairs", "vocabulary", "queries",
                                                           "repeat-queries", "distractors"};

std::unique_ptr<Task> make_associative_recall(const TaskConfig& config) {
  const AssociativeRecallOptions own;
  return std::make_unique<AssociativeRecall>(
      AssociativeRecallOptions{.vocabulary = given_or(config.vocabulary, own.vocabulary),
                               .pairs = given_or(config.pairs, own.pairs),
                               .queries = given_or(config.queries, own.queries),
                               .distractors = config.distractors,
                               .repeat_queries = config.repeat_queries});
}

constexpr std::string_view kRetrievalSettings[] = {"pairs", "vocabulary", "length"};

std::unique_ptr<Task> make_retrieval(const TaskConfig& config) {
  const RetrievalOptions own;
  return std::make_unique<Retrieval>(
      RetrievalOptions{.vocabulary = given_or(config.vocabulary, own.vocabulary),
                       .pairs = given_or(config.pairs, own.pairs),
                       .length = given_or(config.length, own.length)});
}

constexpr std::string_view kSelectiveCopySettings[] = {"vocabulary", "length", "items"};

std::unique_ptr<Task> make_selective_copy(const TaskConfig& config) {
  const SelectiveCopyOptions own;
  return std::make_unique<SelectiveCopy>(
      SelectiveCopyOptions{.vocabulary = given_or(config.vocabulary, own.vocabulary),
                           .items = given_or(config.items, own.items),
                           .length = given_or(config.length, own.length)});
}

constexpr std::string_view kListOpsSettings[] = {"length",     "depth", "arguments",
                                                 "size-above", "data",  "held-out"};

ListOpsOptions listops_options(const TaskConfig& config) {
  const ListOpsOptions own;
  return {.depth = given_or(config.depth, own.depth),
          .arguments = given_or(config.arguments, own.arguments),
          .length = given_or(config.length, own.length),
          .size_above = config.size_above,
          .data = config.data,
          .held_out = config.held_out};
}

std::unique_ptr<Task> make_listops(const TaskConfig& config) {
  return std::make_unique<ListOps>(listops_options(config));
}

void write_listops_files(const TaskConfig& config, const std::filesystem::path& folder, Index count,
                         Rng rng) {
  ListOpsOptions options = listops_options(config);
  options.data.clear();
  write_listops(folder, ListOps(options).grammar(), count, rng);
}

constexpr std::string_view kAncestorSettings[] = {"vocabulary", "chain", "shortest-chain",
                                                  "held-out-chain"};

std::unique_ptr<Task> make_ancestor(const TaskConfig& config) {
  const AncestorOptions own;
  return std::make_unique<Ancestor>(
      AncestorOptions{.vocabulary = given_or(config.vocabulary, own.vocabulary),
                      .chain = given_or(config.chain, own.chain),
                      .shortest_chain = config.shortest_chain,
                      .held_out_chain = config.held_out_chain});
}

constexpr std::string_view kKinshipSettings[] = {"vocabulary", "chain", "shortest-chain",
                                                 "held-out-chain"};

std::unique_ptr<Task> make_kinship(const TaskConfig& config) {
  const KinshipOptions own;
  return std::make_unique<Kinship>(
      KinshipOptions{.vocabulary = given_or(config.vocabulary, own.vocabulary),
                     .chain = given_or(config.chain, own.chain),
                     .shortest_chain = config.shortest_chain,
                     .held_out_chain = config.held_out_chain});
}

constexpr std::string_view kTextSettings[] = {"text", "length", "valid-share", "held-out"};

std::unique_ptr<Task> make_text(const TaskConfig& config) {
  const TextOptions own;
  return std::make_unique<Text>(TextOptions{.file = config.text,
                                            .length = given_or(config.length, own.length),
                                            .valid_share = config.valid_share,
                                            .held_out = config.held_out});
}

constexpr std::string_view kPathfinderSettings[] = {"length", "contour", "data", "held-out"};

PathfinderOptions pathfinder_options(const TaskConfig& config) {
  const PathfinderOptions own;
  return {.length = given_or(config.length, own.length),
          .contour = given_or(config.contour, own.contour),
          .data = config.data,
          .held_out = config.held_out};
}

std::unique_ptr<Task> make_pathfinder(const TaskConfig& config) {
  return std::make_unique<Pathfinder>(pathfinder_options(config));
}

void write_pathfinder_files(const TaskConfig& config, const std::filesystem::path& folder,
                            Index count, Rng rng) {
  PathfinderOptions options = pathfinder_options(config);
  options.data.clear();
  write_pathfinder(folder, Pathfinder(options).rule(), count, rng);
}

constexpr std::string_view kCifar10Settings[] = {"data", "held-out"};

std::unique_ptr<Task> make_cifar10(const TaskConfig& config) {
  return std::make_unique<Cifar10>(
      Cifar10Options{.data = config.data, .held_out = config.held_out});
}

constexpr std::string_view kImdbSettings[] = {"length", "data"};

std::unique_ptr<Task> make_imdb(const TaskConfig& config) {
  const ImdbOptions own;
  return std::make_unique<Imdb>(
      ImdbOptions{.data = config.data, .length = given_or(config.length, own.length)});
}

constexpr std::string_view kAanSettings[] = {"length", "data", "held-out"};

std::unique_ptr<Task> make_aan(const TaskConfig& config) {
  const AanOptions own;
  return std::make_unique<Aan>(AanOptions{.data = config.data,
                                          .length = given_or(config.length, own.length),
                                          .held_out = config.held_out});
}

constexpr TaskKind kKinds[] = {
    {"mqar", "multi-query associative recall: key value pairs, then keys to answer", kMqarSettings,
     make_mqar},
    {"copy", "a prefix and a separator, then the prefix again", kCopySettings, make_copy},
    {"delayed-recall", "at every place, the token that stood `delay` places before",
     kDelayedRecallSettings, make_delayed_recall},
    {"associative-recall",
     "key value pairs, distractors between them, a query token, then keys to answer",
     kAssociativeRecallSettings, make_associative_recall},
    {"retrieval", "key value pairs, zeros, and one key to answer at the end", kRetrievalSettings,
     make_retrieval},
    {"selective-copy", "tokens scattered among noise, then the same tokens in their order",
     kSelectiveCopySettings, make_selective_copy},
    {"listops", "the value of a long nested expression (Long Range Arena)", kListOpsSettings,
     make_listops, "", write_listops_files},
    {"pathfinder", "are two marks the ends of one path, pixel by pixel (Long Range Arena)",
     kPathfinderSettings, make_pathfinder, "", write_pathfinder_files},
    {"ancestor", "a chain of descent in random order, and whether one descends from another",
     kAncestorSettings, make_ancestor},
    {"kinship", "a chain of relatives in random order, and what the last is to the first",
     kKinshipSettings, make_kinship},
    {"cifar10", "the class of a grey image, pixel by pixel (Long Range Arena); length 1024",
     kCifar10Settings, make_cifar10, "data"},
    {"imdb", "is a review good, byte by byte (Long Range Arena); length 4096", kImdbSettings,
     make_imdb, "data"},
    {"aan", "is one of two documents cited by the other (Long Range Arena); length 8000",
     kAanSettings, make_aan, "data"},
    {"text", "the next byte of a file; vocabulary 256, length 256", kTextSettings, make_text,
     "text"},
};

}  // namespace

std::span<const TaskKind> task_kinds() { return kKinds; }

const TaskKind& task_kind(std::string_view name) {
  std::string names;
  for (const TaskKind& known : task_kinds()) {
    if (known.name == name) return known;
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  fail("unknown task '", name, "'; allowed: ", names);
}

std::unique_ptr<Task> make_task(std::string_view kind, const TaskConfig& config) {
  return task_kind(kind).make(config);
}

}  // namespace vla
