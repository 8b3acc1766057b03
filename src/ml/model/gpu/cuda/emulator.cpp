// Runs one launch of a kernel of `kernels.cu` on a CPU, so that the kernels can be tested where there is no GPU.
//
// The threads of a block are fibres; a barrier is left when every thread that is still there has come to it, a shuffle when
// all lanes of the warp have. A warp runs as far as it can before the next one does, blocks run one after the other, and
// everything runs twice, in ascending and in descending order: where a barrier is missing, a warp reads what another one
// has not written yet, or has overwritten already, and results are wrong or differ. Standard input holds words of 32
// bits: length of the kernel's name and the name, padded to whole words; blocks; threads; number of operands, and for
// each its bytes and its content, padded; bytes of the result; number of numbers, and the numbers. The result goes to
// standard output.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static  // One block at a time.

struct Dim3 {
  uint32_t x, y, z;
};
static Dim3 threadIdx, blockIdx, blockDim, gridDim;

static float __uint_as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static uint32_t __float_as_uint(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

[[noreturn]] static void fail(const char *what) {
  fprintf(stderr, "emulator: %s\n", what);
  exit(1);
}

// ---- Fibres

static const uint32_t LANES = 32;
static const size_t STACK = 1 << 16;

struct Barrier {
  uint32_t waiting = 0, left = 0, generation = 0;
};

static ucontext_t scheduler;
static std::vector<ucontext_t> fibres;
static std::vector<char> done;
static uint32_t running;
static bool backwards;
static Barrier block_barrier;
static std::vector<Barrier> warp_barriers;
static std::vector<uint32_t> exchanged;
// Whether a fibre waits at the barrier of the block, and since which generation of it.
static std::vector<char> blocked;
static std::vector<uint32_t> since;

static void pass_turn() {
  Dim3 mine = threadIdx;
  uint32_t self = running;
  swapcontext(&fibres[self], &scheduler);
  running = self;
  threadIdx = mine;
}

static void wait_at(Barrier &barrier) {
  uint32_t generation = barrier.generation;
  barrier.waiting++;
  while (barrier.generation == generation) {
    if (barrier.waiting == barrier.left) {
      barrier.waiting = 0;
      barrier.generation++;
    } else {
      pass_turn();
    }
  }
}

static void __syncthreads() {
  uint32_t self = running;
  blocked[self] = 1;
  since[self] = block_barrier.generation;
  wait_at(block_barrier);
  blocked[self] = 0;
}

template <typename N>
static N __shfl_xor_sync(uint32_t lanes, N value, uint32_t offset) {
  static_assert(sizeof(N) == 4, "a lane gives 32 bits");
  Barrier &barrier = warp_barriers[threadIdx.x / LANES];
  if (lanes != 0xffffffffu || barrier.left != LANES) fail("a shuffle without all lanes");
  memcpy(&exchanged[threadIdx.x], &value, 4);
  wait_at(barrier);
  N other;
  memcpy(&other, &exchanged[threadIdx.x ^ offset], 4);
  wait_at(barrier);
  return other;
}

#include "kernels.cu"

// ---- A launch

struct Launch {
  std::string name;
  uint32_t blocks, threads;
  std::vector<void *> pointers;
  std::vector<uint32_t> numbers;
};

static Launch launch;

struct Cursor {
  size_t pointer = 0, number = 0;
};

template <typename A>
static A next(Cursor &cursor) {
  if constexpr (std::is_pointer_v<A>) {
    if (cursor.pointer == launch.pointers.size()) fail("too few operands");
    return (A)launch.pointers[cursor.pointer++];
  } else {
    if (cursor.number == launch.numbers.size()) fail("too few numbers");
    uint32_t word = launch.numbers[cursor.number++];
    if constexpr (std::is_same_v<A, float>) return __uint_as_float(word);
    return (A)word;
  }
}

template <typename... A>
static void call(void (*kernel)(A...)) {
  Cursor cursor;
  std::tuple<A...> arguments{next<A>(cursor)...};
  if (cursor.pointer != launch.pointers.size() || cursor.number != launch.numbers.size()) fail("too many arguments");
  std::apply(kernel, arguments);
}

#define BOTH(name) {#name "_f32", [] { call(f32_instances::name##_f32); }}, {#name "_bf16", [] { call(bf16_instances::name##_bf16); }}

static const std::map<std::string, void (*)()> KERNELS = {
    BOTH(norm),        BOTH(norm_backward), BOTH(gated_gelu),         BOTH(gated_gelu_backward),
    BOTH(gated_silu),  BOTH(gated_silu_backward),
    BOTH(relu),        BOTH(relu_backward), BOTH(softmax),            BOTH(softmax_backward),
    BOTH(split_heads), BOTH(merge_heads),   BOTH(drop_rows),          BOTH(drop_probabilities),
    BOTH(highest),     BOTH(cross_entropy), BOTH(cross_entropy_gradient), BOTH(sum_rows),
};

static void (*kernel)();

static void fibre() {
  kernel();
  done[running] = 1;
  block_barrier.left--;
  warp_barriers[threadIdx.x / LANES].left--;
  if (block_barrier.waiting > 0 || warp_barriers[threadIdx.x / LANES].waiting > 0) fail("a thread missed a barrier");
}

// Runs the fibres of a warp until none can go on; whether any could.
static bool run_warp(uint32_t warp) {
  bool ran = false;
  for (bool goes_on = true; goes_on;) {
    goes_on = false;
    for (uint32_t turn = 0; turn < LANES; turn++) {
      uint32_t i = warp * LANES + (backwards ? LANES - 1 - turn : turn);
      if (done[i] || (blocked[i] && since[i] == block_barrier.generation)) continue;
      running = i;
      threadIdx = Dim3{i, 0, 0};
      swapcontext(&scheduler, &fibres[i]);
      goes_on = ran = true;
    }
  }
  return ran;
}

static void run_block() {
  fibres.resize(launch.threads);
  done.assign(launch.threads, 0);
  exchanged.assign(launch.threads, 0);
  blocked.assign(launch.threads, 0);
  since.assign(launch.threads, 0);
  block_barrier = Barrier{0, launch.threads, 0};
  warp_barriers.assign(launch.threads / LANES, Barrier{0, LANES, 0});
  static std::vector<std::vector<char>> stacks;
  stacks.resize(launch.threads, std::vector<char>(STACK));
  for (uint32_t i = 0; i < launch.threads; i++) {
    getcontext(&fibres[i]);
    fibres[i].uc_stack.ss_sp = stacks[i].data();
    fibres[i].uc_stack.ss_size = STACK;
    fibres[i].uc_link = &scheduler;
    makecontext(&fibres[i], fibre, 0);
  }
  uint32_t warps = launch.threads / LANES;
  for (bool ran = true; ran;) {
    ran = false;
    for (uint32_t turn = 0; turn < warps; turn++) ran |= run_warp(backwards ? warps - 1 - turn : turn);
  }
  if (block_barrier.left > 0) fail("threads wait for each other");
}

static void run_grid() {
  for (uint32_t turn = 0; turn < launch.blocks; turn++) {
    blockIdx = Dim3{backwards ? launch.blocks - 1 - turn : turn, 0, 0};
    run_block();
  }
}

// ---- Input and output

static uint32_t read_word() {
  uint32_t word;
  if (fread(&word, 4, 1, stdin) != 1) fail("the input ends early");
  return word;
}

static std::vector<char> read_bytes(uint32_t bytes) {
  std::vector<char> content((bytes + 3) / 4 * 4);
  if (fread(content.data(), 1, content.size(), stdin) != content.size()) fail("the input ends early");
  content.resize(bytes);
  return content;
}

int main() {
  uint32_t length = read_word();
  std::vector<char> name = read_bytes(length);
  launch.name.assign(name.begin(), name.end());
  launch.blocks = read_word();
  launch.threads = read_word();
  std::vector<std::vector<char>> operands(read_word());
  for (auto &operand : operands) {
    operand = read_bytes(read_word());
    launch.pointers.push_back(operand.data());
  }
  // What a kernel does not write is no number.
  std::vector<char> result(read_word(), (char)0xff);
  launch.pointers.push_back(result.data());
  launch.numbers.resize(read_word());
  for (auto &number : launch.numbers) number = read_word();

  auto found = KERNELS.find(launch.name);
  if (found == KERNELS.end()) fail("no such kernel");
  kernel = found->second;
  gridDim = Dim3{launch.blocks, 1, 1};
  blockDim = Dim3{launch.threads, 1, 1};
  run_grid();
  std::vector<char> again(result.size(), (char)0xff);
  launch.pointers.back() = again.data();
  backwards = true;
  run_grid();
  if (result != again) fail("the result depends on the order of threads");
  return fwrite(result.data(), 1, result.size(), stdout) == result.size() ? 0 : 1;
}
