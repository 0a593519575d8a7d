/* SPDX-License-Identifier: MIT */
/* A small boot loader: relocates and starts a Linux kernel with khop's core, on QEMU's virt
 * board with 1 GiB of memory or more, without an operating system.
 *
 *   qemu-system-aarch64 -M virt -cpu cortex-a57 -m 1G -nographic -kernel embed.Image \
 *     -initrd initrd -append console=ttyAMA0 \
 *     -device loader,file=Image,addr=0x50000000,force-raw=on
 *
 * QEMU puts the initrd at 0x48000000, where it stays, and passes its device tree in x0. The kernel
 * at 0x50000000 is read into pages of a pool in which every few pages one is missing, as in the
 * page allocator of a system that has been up for long; khop's plan says which byte goes to which
 * page, and the relocator brings them together. */
#include "core/embed/khop.h"

#define PAGE 4096u
#define POOL 0x60000000u
#define POOL_PAGES 32768u /* 128 MiB */
#define STAGED_IMAGE 0x50000000u
#define UART 0x09000000u

/* start.S */
void EnterControlArea(uint64_t address) __attribute__((noreturn));
uint64_t CurrentLevel(void);
/* core/relocator/memory.cc */
void* memcpy(void* destination, const void* source, size_t size);
void* memset(void* destination, int value, size_t size);

static struct khop_range owned[POOL_PAGES];
static struct khop_range spare[POOL_PAGES];
static struct khop_piece pieces[POOL_PAGES];
static uint8_t digests[64 * KHOP_DIGEST_MAX_SIZE];
static uint8_t scratch_memory[16u << 20] __attribute__((aligned(16)));
static const struct khop_scratch scratch = {scratch_memory, sizeof(scratch_memory)};

static void Print(const char* text) {
  for (; *text != '\0'; ++text) {
    while ((*(volatile uint32_t*)(UART + 0x18) & 0x20) != 0) { /* FR.TXFF */
    }
    *(volatile uint32_t*)UART = (uint8_t)*text;
  }
}

static void PrintValue(const char* name, uint64_t value) {
  char text[24];
  int i = 23;
  text[i] = '\0';
  do {
    text[--i] = "0123456789abcdef"[value & 15];
    value >>= 4;
  } while (value != 0);
  Print(name);
  Print(" 0x");
  Print(text + i);
  Print("\r\n");
}

static void __attribute__((noreturn)) Stop(const char* what, uint64_t value) {
  PrintValue(what, value);
  for (;;) {
    __asm__ volatile("wfe");
  }
}

static void Check(const char* what, struct khop_status status) {
  if (status.code == KHOP_OK) return;
  PrintValue(what, (uint64_t)status.code);
  Stop("embed: failed, value", status.value);
}

static uint64_t PageUp(uint64_t size) { return (size + PAGE - 1) / PAGE * PAGE; }

/* The pool: about two pages of three, ascending. */
static size_t MakePool(void) {
  size_t count = 0;
  uint32_t random = 1;
  for (uint64_t page = 0; page < POOL_PAGES; ++page) {
    random = random * 1664525u + 1013904223u;
    if ((random >> 16) % 3 == 0) continue;
    const uint64_t address = POOL + page * PAGE;
    if (count != 0 && owned[count - 1].start + owned[count - 1].size == address) {
      owned[count - 1].size += PAGE;
    } else {
      owned[count++] = (struct khop_range){address, PAGE};
    }
  }
  return count;
}

/* `spare`: what of the pool lies outside of all destinations (few, so each is looked at). */
static size_t MakeSpare(size_t owned_count, const struct khop_range* taken, size_t taken_count) {
  size_t count = 0;
  for (size_t i = 0; i < owned_count; ++i) {
    for (uint64_t at = owned[i].start; at < owned[i].start + owned[i].size; at += PAGE) {
      int free = 1;
      for (size_t t = 0; t < taken_count; ++t) {
        if (at - taken[t].start < taken[t].size) free = 0;
      }
      if (free && count < POOL_PAGES) spare[count++] = (struct khop_range){at, PAGE};
    }
  }
  return count;
}

/* Reads `size` bytes that belong at `destination` from `from` into the pages that wait for them. */
static void Fill(size_t piece_count, uint64_t destination, uint64_t from, uint64_t size) {
  for (size_t i = 0; i < piece_count; ++i) {
    const uint64_t offset = pieces[i].destination - destination;
    if (pieces[i].destination < destination || offset >= size) continue;
    const uint64_t left = size - offset;
    memcpy((void*)pieces[i].source, (const void*)(from + offset),
           left < pieces[i].size ? left : pieces[i].size);
  }
}

static size_t Digest(uint64_t from, uint64_t size, uint8_t* to) {
  size_t bytes = 0;
  for (uint64_t offset = 0; offset < size; offset += KHOP_DIGEST_PIECE) {
    const uint64_t left = size - offset;
    bytes += khop_digest(KHOP_DIGEST_SHA256, (const void*)(from + offset),
                         left < KHOP_DIGEST_PIECE ? left : KHOP_DIGEST_PIECE, to + bytes);
  }
  return bytes;
}

static uint32_t BigEndian(uint64_t address) {
  return __builtin_bswap32(*(const volatile uint32_t*)address);
}

/* Called by start.S with the MMU off; `dtb` is x0 as QEMU left it. */
void EmbedMain(uint64_t dtb) __attribute__((noreturn));
void EmbedMain(uint64_t dtb) {
  if (BigEndian(dtb) != 0xd00dfeed) Stop("embed: no device tree at", dtb);
  const uint64_t dtb_size = BigEndian(dtb + 4);
  /* booting.rst: text_offset and image_size. */
  const uint64_t text_offset = *(const volatile uint64_t*)(STAGED_IMAGE + 8);
  const uint64_t image_size = PageUp(*(const volatile uint64_t*)(STAGED_IMAGE + 16));

  const size_t owned_count = MakePool();
  const struct khop_range allowed[] = {{0x42000000, 0x06000000}, {POOL, POOL_PAGES * PAGE}};
  size_t blob_size = 0;
  const void* const blob = khop_blob(&blob_size);
  /* The tables need 1/512 of the kernel, the other parts less than 256 KiB. */
  uint64_t control_size = PageUp(image_size / 512) + (256u << 10);
  const struct khop_item items[] = {
      {image_size, 2u << 20, text_offset, 0, KHOP_ITEM_WINDOWED},
      {control_size, PAGE, 0, 0, 0},
      {PageUp(dtb_size), PAGE, 0, 2u << 20, 0},
  };
  uint64_t at[3];
  uint64_t owned_bytes = 0;
  Check("embed: khop_place",
        khop_place(items, 3, owned, owned_count, allowed, 2, scratch, at, &owned_bytes));

  struct khop_range destinations[2] = {{at[0], image_size}, {at[2], PageUp(dtb_size)}};
  if (destinations[1].start < destinations[0].start) {
    const struct khop_range first = destinations[1];
    destinations[1] = destinations[0];
    destinations[0] = first;
  }
  const struct khop_range taken[] = {destinations[0], destinations[1], {at[1], control_size}};
  const size_t spare_count = MakeSpare(owned_count, taken, 3);
  size_t piece_count = POOL_PAGES;
  Check("embed: khop_assign", khop_assign(destinations, 2, owned, owned_count, spare, spare_count,
                                          PAGE, scratch, pieces, &piece_count));
  Check("embed: khop_replay",
        khop_replay(pieces, piece_count, pieces, piece_count, destinations, 2, PAGE, scratch));
  uint64_t moved = 0;
  for (size_t i = 0; i < piece_count; ++i) {
    if (pieces[i].source != pieces[i].destination) moved += pieces[i].size;
  }
  PrintValue("embed: kernel goes to", at[0]);
  PrintValue("embed: device tree goes to", at[2]);
  PrintValue("embed: bytes in place", image_size + PageUp(dtb_size) - moved);
  PrintValue("embed: bytes to move", moved);

  Fill(piece_count, at[0], STAGED_IMAGE, image_size);
  Fill(piece_count, at[2], dtb, dtb_size);
  const size_t kernel_digests = Digest(STAGED_IMAGE, image_size, digests);
  const size_t all_digests = kernel_digests + Digest(dtb, dtb_size, digests + kernel_digests);
  const struct khop_range verify[] = {{at[0], image_size}, {at[2], dtb_size}};
  const uint64_t level = CurrentLevel();
  const struct khop_hop hop = {
      .entry = at[0],
      .dtb = at[2],
      .dtb_size = (uint32_t)dtb_size,
      .arena = destinations,
      .arena_count = 2,
      .pieces = pieces,
      .piece_count = piece_count,
      .verify = verify,
      .verify_count = 2,
      .digests = digests,
      .digest_bytes = all_digests,
      .digest_kind = KHOP_DIGEST_SHA256,
      .flags = KHOP_LINUX_IMAGE,
      .mmu = 1,
      .granule_shift = 12,
      .va_bits = 48,
      .pa_bits = 40,
      .cache_line_size = 64,
      .uart_kind = KHOP_UART_PL011,
      .uart_base = UART,
      .uart_io_width = 4,
      .psci = level == 2 ? KHOP_PSCI_SMC : KHOP_PSCI_HVC,
  };
  Check("embed: khop_build",
        khop_build(&hop, blob, blob_size, at[1], (void*)at[1], &control_size, scratch));
  PrintValue("embed: control area at", at[1]);
  PrintValue("embed: bytes of it", control_size);
  Print("embed: entering the relocator\r\n");
  EnterControlArea(at[1]);
}
