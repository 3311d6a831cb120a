// Version 2 has no devices controller: a small eBPF program on the group decides. Written by hand, as it is twenty
// instructions and saves a compiler.

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sys/cgroup_internal.h"
#include "sys/fd.h"

namespace tutti::sys::cgroup {
namespace {

constexpr bpf_insn insn(unsigned code, unsigned dst, unsigned src, int off, int imm) {
  bpf_insn out{};
  out.code = static_cast<__u8>(code);
  out.dst_reg = dst & 15;
  out.src_reg = src & 15;
  out.off = static_cast<__s16>(off);
  out.imm = imm;
  return out;
}
constexpr bpf_insn load(unsigned dst, int off) {
  return insn(BPF_LDX | BPF_MEM | BPF_W, dst, 1, off, 0);
}
constexpr bpf_insn if_equal(unsigned reg, int value, int skip) {
  return insn(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, skip, value);
}
constexpr bpf_insn if_not(unsigned reg, int value, int skip) {
  return insn(BPF_JMP | BPF_JNE | BPF_K, reg, 0, skip, value);
}
constexpr bpf_insn answer(int value) {
  return insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, value);
}
constexpr bpf_insn leave() {
  return insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

// r2 type, r3 access, r4 major, r5 minor. A skip counts the instructions between the jump and its target.
constexpr bpf_insn kProgram[] = {
    load(2, 0),                                          // 0  access_type
    insn(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0),       // 1
    insn(BPF_ALU64 | BPF_RSH | BPF_K, 3, 0, 0, 16),      // 2  the upper half is the access
    insn(BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff),  // 3  the lower half the type
    load(4, 4),                                          // 4
    load(5, 8),                                          // 5
    if_equal(3, BPF_DEVCG_ACC_MKNOD, 15),                // 6  making a node alone: allow (22)
    if_not(2, BPF_DEVCG_DEV_CHAR, 12),                   // 7  → deny (20)
    if_equal(4, 136, 13),                                // 8  pts → allow
    if_equal(4, 5, 6),                                   // 9  tty, console, ptmx → 16
    if_not(4, 1, 9),                                     // 10 → deny
    if_equal(5, 3, 10),                                  // 11 null
    if_equal(5, 5, 9),                                   // 12 zero
    if_equal(5, 7, 8),                                   // 13 full
    if_equal(5, 8, 7),                                   // 14 random
    if_equal(5, 9, 6),  // 15 urandom; else falls on: minors 0..2 of mem are refused below
    if_equal(4, 1, 3),  // 16 came here by falling: deny (20)
    if_equal(5, 0, 4),  // 17 tty
    if_equal(5, 1, 3),  // 18 console
    if_equal(5, 2, 2),  // 19 ptmx
    answer(0),          // 20
    leave(),            // 21
    answer(1),          // 22
    leave(),            // 23
};

}  // namespace

Status v2_restrict_devices(const std::string& folder) {
  bpf_attr load_request;
  memset(&load_request, 0, sizeof load_request);
  load_request.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load_request.insns = reinterpret_cast<__u64>(kProgram);
  load_request.insn_cnt = sizeof kProgram / sizeof kProgram[0];
  load_request.license = reinterpret_cast<__u64>("Apache-2.0");
  UniqueFd program(static_cast<int>(syscall(SYS_bpf, BPF_PROG_LOAD, &load_request, sizeof load_request)));
  if (!program) return fail_errno("load the device filter for " + folder, errno);
  UniqueFd group(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group) return fail_errno("open " + folder, errno);
  bpf_attr attach;
  memset(&attach, 0, sizeof attach);
  attach.target_fd = static_cast<__u32>(group.get());
  attach.attach_bpf_fd = static_cast<__u32>(program.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach) != 0)
    return fail_errno("attach the device filter to " + folder, errno);
  return {};
}

}  // namespace tutti::sys::cgroup
