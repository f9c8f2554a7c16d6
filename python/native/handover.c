// Small frames in memory that is shared with the host, left there only for who looks for one just then: see src/os/handover.hpp, and
// docs/protocol.md, "Handing over".
#define _GNU_SOURCE 1  // memfd_create; as some Pythons define it
#include "loop.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { ASLEEP, LOOKS, WRITING, FULL };

typedef struct {
  _Atomic uint32_t state, size;
  unsigned char data[HANDOVER_MOST];
} Box;

struct Page {
  Box to_worker, to_host;
};
_Static_assert(sizeof(struct Page) == 4096, "as the host has it");

static int make_page(void) {
  const int fd = memfd_create("lair-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -1;
  // Its memory is there before anybody relies on it, and stays.
  if (posix_fallocate(fd, 0, sizeof(struct Page)) == 0 &&
      fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
    return fd;
  }
  close(fd);
  return -1;
}

PyObject *make_handover(PyObject *module, PyObject *none) {
  (void)none;
  Names *names = PyModule_GetState(module);
  const int fd = make_page();
  void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    if (fd >= 0) close(fd);
    return PyLong_FromLong(-1);
  }
  drop_handover(names);
  names->page = memory;
  return PyLong_FromLong(fd);
}

PyObject *forget_handover(PyObject *module, PyObject *none) {
  (void)none;
  drop_handover(PyModule_GetState(module));
  Py_RETURN_NONE;
}

void drop_handover(Names *names) {
  if (names->page) munmap(names->page, sizeof(struct Page));
  names->page = NULL;
}

int hand_over(struct Page *page, const Buffer *frame) {
  uint32_t expected = LOOKS;
  if (!page || frame->size > HANDOVER_MOST) return 0;
  Box *box = &page->to_host;
  if (!atomic_compare_exchange_strong(&box->state, &expected, WRITING)) return 0;
  memcpy(box->data, frame->data, frame->size);
  box->size = (uint32_t)frame->size;
  expected = WRITING;
  return atomic_compare_exchange_strong(&box->state, &expected, FULL);
}

static size_t copy(const Box *box, void *data) {
  const size_t said = atomic_load_explicit(&box->size, memory_order_relaxed);
  const size_t size = said < HANDOVER_MOST ? said : HANDOVER_MOST;
  memcpy(data, box->data, size);
  return size;
}

void begin_look(struct Page *page) { atomic_store(&page->to_worker.state, LOOKS); }

size_t take_over(struct Page *page, void *data) {
  Box *box = &page->to_worker;
  if (atomic_load_explicit(&box->state, memory_order_acquire) != FULL) return 0;
  const size_t size = copy(box, data);
  atomic_store(&box->state, ASLEEP);
  return size;
}

ssize_t end_look(struct Page *page, void *data, ssize_t count) {
  Box *box = &page->to_worker;
  if (atomic_exchange(&box->state, ASLEEP) != FULL) return count;
  unsigned char frame[HANDOVER_MOST];
  const size_t size = copy(box, frame);
  if (size == 0) return count;
  const size_t behind = count > 0 ? (size_t)count : 0;  // an error, or the end, is there the next time, too
  memmove((unsigned char *)data + size, data, behind);
  memcpy(data, frame, size);
  return (ssize_t)(size + behind);
}
