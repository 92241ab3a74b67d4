#include "framework/tape_picture.hpp"

#include <algorithm>
#include <map>
#include <sstream>
#include <string_view>

#include "framework/table.hpp"

namespace vla {
namespace {

using Kind = ValueView::Kind;

const ValueView& value_of(const TapeView& view, int number) {
  return view.values[static_cast<std::size_t>(number)];
}

std::string type_of(const ValueView& value) { return concatenate(value.dtype, value.shape); }

// "program.cpp:12": folders are long, and others on other machines.
std::string line_of(CallSite site) {
  if (site.line == 0) return "";
  const std::string_view file = site.file;
  return concatenate(file.substr(file.rfind('/') + 1), ":", site.line);
}

std::string bytes_text(std::size_t bytes) {
  const double number = static_cast<double>(bytes);
  if (bytes < 1000) return concatenate(bytes, " B");
  if (bytes < 1'000'000) return rounded(number * 1e-3) + " kB";
  return rounded(number * 1e-6, bytes < 1'000'000'000 ? 3 : 4) + " MB";
}

// What each value is called in the text.
std::vector<std::string> names_of(const TapeView& view) {
  std::vector<std::string> names;
  int results = 0, leaves = 0;
  for (const ValueView& value : view.values) {
    if (value.kind == Kind::result)
      names.push_back(concatenate("%", results++));
    else if (!value.name.empty())
      names.push_back(value.name);
    else if (value.kind != Kind::constant)
      names.push_back(concatenate("leaf", leaves++));
    else
      names.push_back(type_of(value));
  }
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// A word in double quotes, as dot reads it.
std::string quoted(const std::string& text) {
  std::string word = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') word += '\\';
    if (letter == '\n')
      word += "\\n";
    else
      word += letter;
  }
  return word + "\"";
}

void draw_source(std::ostream& out, const ValueView& value, int number) {
  const bool leaf = value.kind != Kind::constant;
  const std::string name = !value.name.empty() ? value.name : leaf ? "leaf" : "constant";
  const char* colour = value.kind == Kind::parameter ? "#ffe0a3" : "#dbe9ff";
  out << "  v" << number << " [shape=ellipse, label=" << quoted(name + "\n" + type_of(value))
      << (leaf ? concatenate(", fillcolor=\"", colour, "\"")
               : ", style=\"filled,dashed\", fillcolor=\"#f2f2f2\"")
      << "];\n";
}

}  // namespace

std::string to_text(const TapeView& view) {
  const std::vector<std::string> names = names_of(view);
  Table table = {{"value", "made by", "type", "saved", "called at"}};
  for (std::size_t i = 0; i < names.size(); ++i)
    if (const Kind kind = view.values[i].kind; kind == Kind::parameter || kind == Kind::outer)
      table.push_back({names[i], kind == Kind::parameter ? "parameter" : "outer tape",
                       type_of(view.values[i]), "", ""});
  for (const NodeView& node : view.nodes) {
    std::vector<std::string> inputs, outputs, types;
    for (const int input : node.inputs)
      inputs.push_back(input < 0 ? "none" : names[static_cast<std::size_t>(input)]);
    for (const int output : node.outputs) {
      outputs.push_back(names[static_cast<std::size_t>(output)]);
      types.push_back(type_of(value_of(view, output)));
    }
    table.push_back({joined(outputs), node.name + "(" + joined(inputs) + ")", joined(types),
                     bytes_text(node.saved_bytes), line_of(node.site)});
  }
  return aligned(table, {false, false, false, true, false});
}

std::string to_dot(const TapeView& view) {
  std::ostringstream out;
  out << "digraph tape {\n"
         "  node [shape=box, style=\"filled\", fillcolor=\"#ffffff\", fontname=\"sans-serif\"];\n"
         "  edge [fontname=\"sans-serif\"];\n";
  std::map<int, std::pair<std::size_t, std::size_t>> makers;  // of results: the op, which output
  std::vector<bool> drawn(view.values.size(), false);
  for (std::size_t i = 0; i < view.nodes.size(); ++i) {
    const NodeView& node = view.nodes[i];
    std::string label = node.name, tooltip = line_of(node.site);
    for (std::size_t k = 0; k < node.outputs.size(); ++k) {
      makers[node.outputs[k]] = {i, k};
      label.append("\n").append(type_of(value_of(view, node.outputs[k])));
    }
    tooltip.append(tooltip.empty() ? "saved " : ", saved ").append(bytes_text(node.saved_bytes));
    for (const int input : node.inputs) {
      if (input < 0 || value_of(view, input).kind == Kind::result ||
          drawn[static_cast<std::size_t>(input)])
        continue;
      draw_source(out, value_of(view, input), input);
      drawn[static_cast<std::size_t>(input)] = true;
    }
    out << "  n" << i << " [label=" << quoted(label) << ", tooltip=" << quoted(tooltip) << "];\n";
    for (const int input : node.inputs) {
      if (input < 0) continue;
      const auto maker = makers.find(input);
      if (maker == makers.end()) {
        out << "  v" << input << " -> n" << i << ";\n";
        continue;
      }
      const auto [from, place] = maker->second;
      out << "  n" << from << " -> n" << i;
      if (view.nodes[from].outputs.size() > 1) out << " [label=\"result " << place << "\"]";
      out << ";\n";
    }
  }
  out << "}\n";
  return out.str();
}

std::string memory_table(const TapeView& view) {
  struct Row {
    std::string op;
    std::size_t nodes = 0, bytes = 0;
  };
  std::map<std::string, Row> by_op;
  std::size_t all = 0;
  for (const NodeView& node : view.nodes) {
    Row& row = by_op[node.name];
    row.op = node.name;
    row.nodes += 1;
    row.bytes += node.saved_bytes;
    all += node.saved_bytes;
  }
  std::vector<Row> rows;
  for (const auto& [op, row] : by_op) rows.push_back(row);
  std::ranges::stable_sort(rows, std::greater(), &Row::bytes);
  Table table = {{"op", "nodes", "saved", "share"}};
  for (const Row& row : rows)
    table.push_back(
        {row.op, std::to_string(row.nodes), bytes_text(row.bytes),
         all == 0
             ? "-"
             : rounded(100 * static_cast<double>(row.bytes) / static_cast<double>(all)) + " %"});
  table.push_back({"together", std::to_string(view.nodes.size()), bytes_text(all), ""});
  return aligned(table, {false, true, true, true});
}

}  // namespace vla
