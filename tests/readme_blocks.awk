# Writes the C++ of a README as source files, with #line directives, so that a compiler's messages
# name the README and its line. The line that opens a block says what the block is:
#
#   ```cpp             a program if it defines `int main`, otherwise declarations
#   ```cpp statements  the body of a function of its own (its #include lines stay outside)
#   ```cuda            a file for nvcc
#
# A program becomes a file of its own, OUT_program.cpp (a second one OUT_program_2.cpp). All other
# blocks of C++ become one file, OUT_blocks.cpp, after the public headers and `using namespace vla;`:
# each sees the declarations before it, and `main` calls the functions in order. The blocks for nvcc
# become OUT_blocks.cu, which is linked with it.
#
# Variables: out, the OUT above; readme, the path of the README.

function refuse(line, what) {
  print readme ":" line ": " what > "/dev/stderr"
  refused = 1
  exit 1
}

function finish_block() {
  body = "#line " (opened + 1) " \"" readme "\"\n" body
  if (cuda) {
    kernels = kernels body
  } else if (statements) {
    blocks = blocks "static void line_" opened "() {\n" body "}\n"
    calls = calls "  std::clog << \"" readme ":" opened "\" << std::endl;\n"
    calls = calls "  line_" opened "();\n"
  } else if (body ~ /\nint main\(/) {
    ++programs
    printf "%s", body > (out "_program" (programs > 1 ? "_" programs : "") ".cpp")
  } else {
    blocks = blocks body
  }
}

!opened && /```[ ]*(cpp|c\+\+|C\+\+|cc|cxx|hpp|cu|cuda|CUDA)/ && !/^```(cpp|cpp statements|cuda)$/ {
  refuse(NR, "a block of C++ opens with ```cpp, ```cpp statements or ```cuda, alone on its line")
}
!opened && /^```/ {
  opened = NR
  cpp = /^```cpp/
  cuda = /^```cuda/
  statements = /^```cpp statements/
  body = ""
  next
}
opened && /^```./ { refuse(opened, "this block is not closed before line " NR) }
opened && /^```/ {
  if (cpp || cuda) finish_block()
  opened = 0
}
opened && statements && /^#include/ {
  blocks = blocks $0 "\n"
  $0 = ""
}
# Of a file that the reader is to make.
opened && (/^#pragma once/ || /^#include "[a-z_]+\.hpp"/) { $0 = "" }
{ body = body $0 "\n" }

END {
  if (refused) exit 1
  if (opened) refuse(opened, "this block is not closed")
  if (kernels) printf "%s", kernels > (out "_blocks.cu")
  if (!blocks) exit
  file = out "_blocks.cpp"
  print "#include <iostream>\n" > file
  print "#include \"framework/framework.hpp\"\n#include \"models/models.hpp\"" > file
  print "#include \"tasks/tasks.hpp\"\n\nusing namespace vla;\n" > file
  printf "%s\nint main() {\n%s}\n", blocks, calls > file
}
