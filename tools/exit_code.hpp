// What the program's exit code says. Scripts, and `vla experiment` of the runs it starts, go by it.
#pragma once

namespace vla {

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;    ///< what was checked is wrong, or not all asked for was done
inline constexpr int kRefused = 2;   ///< wrong use or input
inline constexpr int kDiverged = 3;  ///< a training's numbers are not finite any more

/// That of a program which ended early because of a signal: 130 after Ctrl-C.
constexpr int exit_code_of_signal(int signal) { return 128 + signal; }

}  // namespace vla
