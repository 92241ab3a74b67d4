// Marks a function as callable from CPU and from CUDA code.
#pragma once

#ifdef __CUDACC__
#define VLA_HOST_DEVICE __host__ __device__
#else
#define VLA_HOST_DEVICE
#endif
