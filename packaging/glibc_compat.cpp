// What the headers of a newer GCC and glibc expect of their libraries, for a program that also runs with the libraries
// of 2018: glibc 2.28 and GCC 8.

#include <new>

#define HIDDEN __attribute__((visibility("hidden")))

extern "C" {
// glibc 2.32: with 0, shared pointers count with atomic operations, which is right with any number of threads.
HIDDEN char __libc_single_threaded = 0;
}

namespace std {
// GCC 11.
HIDDEN void __throw_bad_array_new_length() { throw std::bad_array_new_length(); }
} // namespace std
