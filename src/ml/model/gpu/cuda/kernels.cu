// The CUDA kernels of the GPU engine. The Rust side, `ml::model::gpu::fused`, checks all sizes and launches them; it says
// what each computes. `emulator.cpp` runs the same text on a CPU, for tests.
//
// Every kernel has operands, a result and numbers for arguments, in this order, and an instance for f32 and one for bf16,
// the type T of the operands that are no ids, scales, biases or losses. Arithmetic is in f32. A block has 256 threads, 8
// warps; a warp takes a row of a matrix, or a block does where rows are as long as a vocabulary. Warps and blocks go on
// to further rows as far as the grid does not reach. Ids that no caller may give (a row beyond the last one) read nothing.

typedef unsigned int u32;
typedef unsigned long long u64;

#define WARP 32u
#define ALL_LANES 0xffffffffu
#define LOWEST (-3.402823466e38f)

// ---- Numbers in memory

struct bf16 {
  unsigned short bits;
};

__device__ __forceinline__ float load(const float *x, u64 i) { return x[i]; }

__device__ __forceinline__ float load(const bf16 *x, u64 i) { return __uint_as_float((u32)x[i].bits << 16); }

__device__ __forceinline__ void store(float *x, u64 i, float value) { x[i] = value; }

// To the nearest, ties to even, as the `half` crate rounds.
__device__ __forceinline__ void store(bf16 *x, u64 i, float value) {
  u32 bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    x[i].bits = (unsigned short)((bits >> 16) | 0x40u);
  } else {
    x[i].bits = (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
  }
}

// ---- Sums and maxima of what the threads of a warp or a block hold; every thread gets the result

__device__ __forceinline__ float warp_sum(float x) {
  for (u32 offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(ALL_LANES, x, offset);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
  for (u32 offset = WARP / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, offset));
  return x;
}

// `places` has room for one number a warp.
__device__ __forceinline__ float block_sum(float x, float *places) {
  x = warp_sum(x);
  __syncthreads();  // Whoever used the places before is done.
  if (threadIdx.x % WARP == 0) places[threadIdx.x / WARP] = x;
  __syncthreads();
  float sum = 0.0f;
  for (u32 warp = 0; warp < blockDim.x / WARP; warp++) sum += places[warp];
  return sum;
}

__device__ __forceinline__ float block_max(float x, float *places) {
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % WARP == 0) places[threadIdx.x / WARP] = x;
  __syncthreads();
  float top = places[0];
  for (u32 warp = 1; warp < blockDim.x / WARP; warp++) top = fmaxf(top, places[warp]);
  return top;
}

// The rows of a warp, and the columns of a lane.
#define FOR_ROWS_OF_WARP(row, rows)                                                       \
  for (u64 row = ((u64)blockIdx.x * blockDim.x + threadIdx.x) / WARP; row < (u64)(rows); \
       row += (u64)gridDim.x * blockDim.x / WARP)
#define FOR_COLUMNS_OF_LANE(i, columns) for (u32 i = threadIdx.x % WARP; i < (columns); i += WARP)
#define FOR_ROWS_OF_BLOCK(row, rows) for (u64 row = blockIdx.x; row < (u64)(rows); row += gridDim.x)
#define FOR_COLUMNS_OF_THREAD(i, columns) for (u32 i = threadIdx.x; i < (columns); i += blockDim.x)

// ---- RMS norm

template <typename T>
__device__ void norm(const T *x, const float *scale, T *y, u32 rows, u32 width, float epsilon) {
  FOR_ROWS_OF_WARP(row, rows) {
    const T *x_row = x + row * width;
    float squares = 0.0f;
    FOR_COLUMNS_OF_LANE(i, width) {
      float value = load(x_row, i);
      squares += value * value;
    }
    float r = 1.0f / sqrtf(warp_sum(squares) / (float)width + epsilon);
    FOR_COLUMNS_OF_LANE(i, width) store(y, row * width + i, load(x_row, i) * r * scale[i]);
  }
}

template <typename T>
__device__ void norm_backward(const T *d_x, const T *d_y, const T *x, const float *scale, T *sum, u32 rows, u32 width,
                              float epsilon) {
  FOR_ROWS_OF_WARP(row, rows) {
    u64 start = row * width;
    float squares = 0.0f, dot = 0.0f;
    FOR_COLUMNS_OF_LANE(i, width) {
      float value = load(x, start + i);
      squares += value * value;
      dot += load(d_y, start + i) * scale[i] * value;
    }
    float r = 1.0f / sqrtf(warp_sum(squares) / (float)width + epsilon);
    float k = warp_sum(dot) * r * r * r / (float)width;
    FOR_COLUMNS_OF_LANE(i, width) {
      float d = load(d_y, start + i) * scale[i] * r - load(x, start + i) * k;
      store(sum, start + i, load(d_x, start + i) + d);
    }
  }
}

// ---- Activations

#define ROOT 0.7978846f  // sqrt(2/pi)
#define CUBIC 0.044715f

template <typename T>
__device__ void gated_gelu(const T *inner, T *y, u32 rows, u32 ff) {
  FOR_ROWS_OF_WARP(row, rows) {
    const T *a = inner + row * 2 * ff, *b = a + ff;
    FOR_COLUMNS_OF_LANE(i, ff) {
      float x = load(a, i);
      float t = tanhf(ROOT * x * (1.0f + CUBIC * x * x));
      store(y, row * ff + i, 0.5f * x * (1.0f + t) * load(b, i));
    }
  }
}

template <typename T>
__device__ void gated_gelu_backward(const T *inner, const T *d_y, T *d_inner, u32 rows, u32 ff) {
  FOR_ROWS_OF_WARP(row, rows) {
    u64 start = row * 2 * ff;
    FOR_COLUMNS_OF_LANE(i, ff) {
      float x = load(inner, start + i), gate = load(inner, start + ff + i), d = load(d_y, row * ff + i);
      float t = tanhf(ROOT * x * (1.0f + CUBIC * x * x));
      float slope = 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * ROOT * (1.0f + 3.0f * CUBIC * x * x);
      store(d_inner, start + i, d * gate * slope);
      store(d_inner, start + ff + i, d * (0.5f * x * (1.0f + t)));
    }
  }
}

template <typename T>
__device__ void gated_silu(const T *inner, T *y, u32 rows, u32 ff) {
  FOR_ROWS_OF_WARP(row, rows) {
    const T *a = inner + row * 2 * ff, *b = a + ff;
    FOR_COLUMNS_OF_LANE(i, ff) {
      float x = load(a, i);
      store(y, row * ff + i, x / (1.0f + expf(-x)) * load(b, i));
    }
  }
}

template <typename T>
__device__ void gated_silu_backward(const T *inner, const T *d_y, T *d_inner, u32 rows, u32 ff) {
  FOR_ROWS_OF_WARP(row, rows) {
    u64 start = row * 2 * ff;
    FOR_COLUMNS_OF_LANE(i, ff) {
      float x = load(inner, start + i), gate = load(inner, start + ff + i), d = load(d_y, row * ff + i);
      float sigmoid = 1.0f / (1.0f + expf(-x));
      store(d_inner, start + i, d * gate * sigmoid * (1.0f + x * (1.0f - sigmoid)));
      store(d_inner, start + ff + i, d * x * sigmoid);
    }
  }
}

template <typename T>
__device__ void relu(const T *inner, T *y, u32 rows, u32 ff) {
  FOR_ROWS_OF_WARP(row, rows) {
    FOR_COLUMNS_OF_LANE(i, ff) store(y, row * ff + i, fmaxf(load(inner, row * ff + i), 0.0f));
  }
}

template <typename T>
__device__ void relu_backward(const T *inner, const T *d_y, T *d_inner, u32 rows, u32 ff) {
  FOR_ROWS_OF_WARP(row, rows) {
    FOR_COLUMNS_OF_LANE(i, ff) {
      u64 at = row * ff + i;
      store(d_inner, at, load(inner, at) > 0.0f ? load(d_y, at) : 0.0f);
    }
  }
}

// ---- Attention

// Without a bias its length is 0.
template <typename T>
__device__ void softmax(const T *scores, const u32 *lengths, const float *bias, T *p, u32 batch, u32 heads, u32 queries,
                        u32 keys, u32 length, u32 position, u32 causal) {
  FOR_ROWS_OF_WARP(row, (u64)batch * heads * queries) {
    u32 query = position + (u32)(row % queries), head = (u32)(row / queries % heads);
    u32 seen = lengths[row / queries / heads];
    if (seen > keys) seen = keys;
    if (causal && query + 1 < seen) seen = query + 1;
    const T *x = scores + row * keys;
    const float *b = bias + (length ? (u64)head * (2 * length - 1) + length - 1 - query : 0);
    float top = LOWEST;
    FOR_COLUMNS_OF_LANE(j, seen) top = fmaxf(top, load(x, j) + (length ? b[j] : 0.0f));
    top = warp_max(top);
    float total = 0.0f;
    FOR_COLUMNS_OF_LANE(j, seen) total += expf(load(x, j) + (length ? b[j] : 0.0f) - top);
    float factor = 1.0f / warp_sum(total);
    FOR_COLUMNS_OF_LANE(j, keys) {
      float value = 0.0f;
      if (j < seen) value = expf(load(x, j) + (length ? b[j] : 0.0f) - top) * factor;
      store(p, row * keys + j, value);
    }
  }
}

template <typename T>
__device__ void softmax_backward(const T *p, const T *d_p, T *d_scores, u32 rows, u32 keys) {
  FOR_ROWS_OF_WARP(row, rows) {
    u64 start = row * keys;
    float total = 0.0f;
    FOR_COLUMNS_OF_LANE(j, keys) total += load(p, start + j) * load(d_p, start + j);
    total = warp_sum(total);
    FOR_COLUMNS_OF_LANE(j, keys) store(d_scores, start + j, load(p, start + j) * (load(d_p, start + j) - total));
  }
}

template <typename T>
__device__ void split_heads(const T *x, const u32 *starts, T *y, u32 batch, u32 heads, u32 longest, u32 width, u32 rows,
                            u32 columns, u32 column) {
  FOR_ROWS_OF_WARP(to, (u64)batch * heads * longest) {
    u32 example = (u32)(to / longest / heads), head = (u32)(to / longest % heads);
    u64 row = (u64)starts[example] + to % longest;
    bool inside = row < starts[example + 1] && row < rows;
    const T *from = x + row * columns + column + head * width;
    FOR_COLUMNS_OF_LANE(i, width) store(y, to * width + i, inside ? load(from, i) : 0.0f);
  }
}

template <typename T>
__device__ void merge_heads(const T *first, const T *second, const T *third, const u32 *places, T *y, u32 rows, u32 parts,
                            u32 heads, u32 width, u32 batch, u32 longest) {
  FOR_ROWS_OF_WARP(to, (u64)rows * parts * heads) {
    u64 row = to / heads / parts;
    u32 part = (u32)(to / heads % parts), head = (u32)(to % heads);
    u32 example = places[2 * row], at = places[2 * row + 1];
    bool inside = example < batch && at < longest;
    const T *from = part == 0 ? first : part == 1 ? second : third;
    from += (((u64)example * heads + head) * longest + at) * width;
    FOR_COLUMNS_OF_LANE(i, width) store(y, to * width + i, inside ? load(from, i) : 0.0f);
  }
}

// ---- Dropout: the masks of `kernels/dropout.rs`

__device__ __forceinline__ u64 mix(u64 x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

__device__ __forceinline__ u32 mix32(u32 x) {
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

__device__ __forceinline__ u64 row_key(const u32 *keys, u32 example, u32 site, u64 row) {
  u64 key = (u64)keys[2 * example] | (u64)keys[2 * example + 1] << 32;
  return mix(mix(key ^ site) ^ row);
}

__device__ __forceinline__ float mask(u64 key, u32 column, u32 threshold, float kept) {
  u32 hash = mix32(mix32(column ^ (u32)key) + (u32)(key >> 32));
  return (hash >> 8) < threshold ? 0.0f : kept;
}

template <typename T>
__device__ void drop_rows(const T *x, const u32 *keys, const u32 *places, T *y, u32 rows, u32 width, u32 examples,
                          u32 site, u32 shared, u32 threshold, float kept) {
  FOR_ROWS_OF_WARP(row, rows) {
    u32 example = places[2 * row];
    if (example >= examples) example = 0;
    u64 key = row_key(keys, example, site, shared ? 0 : places[2 * row + 1]);
    FOR_COLUMNS_OF_LANE(i, width) {
      store(y, row * width + i, load(x, row * width + i) * mask(key, i, threshold, kept));
    }
  }
}

template <typename T>
__device__ void drop_probabilities(const T *p, const u32 *keys_of, const u32 *lengths, T *y, u32 batch, u32 heads,
                                   u32 queries, u32 keys, u32 site, u32 shared, u32 threshold, float kept) {
  FOR_ROWS_OF_WARP(row, (u64)batch * heads * queries) {
    u32 example = (u32)(row / queries / heads), head = (u32)(row / queries % heads), query = (u32)(row % queries);
    u32 own = lengths[example];
    u64 key = row_key(keys_of, example, site, shared ? (u64)head : (u64)head * own + query);
    FOR_COLUMNS_OF_LANE(j, keys) {
      float factor = query < own ? mask(key, j, threshold, kept) : 0.0f;
      store(y, row * keys + j, load(p, row * keys + j) * factor);
    }
  }
}

// ---- Loss: `high` is the share of the target, `low` that of each other word

template <typename T>
__device__ void cross_entropy(const T *logits, const u32 *targets, float *losses, u32 rows, u32 vocab, float high,
                              float low, float constant, float z_loss) {
  __shared__ float places[WARP];
  FOR_ROWS_OF_BLOCK(row, rows) {
    const T *x = logits + row * vocab;
    float top = LOWEST;
    FOR_COLUMNS_OF_THREAD(i, vocab) top = fmaxf(top, load(x, i));
    top = block_max(top, places);
    float total = 0.0f, all = 0.0f;
    FOR_COLUMNS_OF_THREAD(i, vocab) {
      float value = load(x, i);
      total += expf(value - top);
      all += value;
    }
    total = block_sum(total, places);
    all = block_sum(all, places);
    if (threadIdx.x == 0) {
      float log_z = top + logf(total), wanted = targets[row] < vocab ? load(x, targets[row]) : 0.0f;
      float loss = log_z - high * wanted - constant + z_loss * log_z * log_z;
      if (low > 0.0f) loss -= low * (all - wanted);
      losses[2 * row] = loss;
      losses[2 * row + 1] = log_z;
    }
  }
}

template <typename T>
__device__ void cross_entropy_gradient(const T *logits, const u32 *targets, const float *losses, T *d_logits, u32 rows,
                                       u32 vocab, float high, float low, float constant, float z_loss) {
  FOR_ROWS_OF_BLOCK(row, rows) {
    float log_z = losses[2 * row + 1], factor = 1.0f + 2.0f * z_loss * log_z;
    u32 target = targets[row];
    FOR_COLUMNS_OF_THREAD(i, vocab) {
      float d = expf(load(logits, row * vocab + i) - log_z) * factor - (i == target ? high : low);
      store(d_logits, row * vocab + i, d);
    }
  }
}

// ---- Rows

template <typename T>
__device__ void sum_rows(const T *x, const u32 *starts, const u32 *named, float *sums, u32 rows, u32 width, u32 most,
                         u32 names) {
  FOR_ROWS_OF_WARP(row, rows) {
    FOR_COLUMNS_OF_LANE(i, width) {
      float sum = 0.0f;
      for (u32 j = starts[row]; j < starts[row + 1] && j < names; j++) {
        if (named[j] < most) sum += load(x, (u64)named[j] * width + i);
      }
      sums[row * width + i] = sum;
    }
  }
}

// Of two candidates the higher one, of equal ones the earlier one.
__device__ __forceinline__ void better(float &value, u32 &at, float other, u32 other_at) {
  if (other > value || (other == value && other_at < at)) {
    value = other;
    at = other_at;
  }
}

template <typename T>
__device__ void highest(const T *x, u32 *at, u32 rows, u32 width) {
  __shared__ float values[WARP];
  __shared__ u32 columns[WARP];
  FOR_ROWS_OF_BLOCK(row, rows) {
    // Nothing is higher than this but numbers, so that a row of NaN is highest at 0.
    float best = __uint_as_float(0xff800000u);
    u32 column = 0;
    FOR_COLUMNS_OF_THREAD(i, width) {
      float value = load(x, row * width + i);
      if (value > best) {
        best = value;
        column = i;
      }
    }
    for (u32 offset = WARP / 2; offset > 0; offset /= 2) {
      float other = __shfl_xor_sync(ALL_LANES, best, offset);
      u32 other_at = __shfl_xor_sync(ALL_LANES, column, offset);
      better(best, column, other, other_at);
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) {
      values[threadIdx.x / WARP] = best;
      columns[threadIdx.x / WARP] = column;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      for (u32 warp = 1; warp < blockDim.x / WARP; warp++) better(best, column, values[warp], columns[warp]);
      at[row] = column;
    }
  }
}

// ---- Instances: KERNEL(name, parameters, arguments) with T for the type of the operands

#define KERNEL(name, parameters, arguments)                            \
  namespace f32_instances {                                            \
  typedef float T;                                                     \
  extern "C" __global__ void name##_f32 parameters { name arguments; } \
  }                                                                    \
  namespace bf16_instances {                                           \
  typedef bf16 T;                                                      \
  extern "C" __global__ void name##_bf16 parameters { name arguments; }\
  }

KERNEL(norm, (const T *x, const float *scale, T *y, u32 rows, u32 width, float epsilon),
       (x, scale, y, rows, width, epsilon))
KERNEL(norm_backward,
       (const T *d_x, const T *d_y, const T *x, const float *scale, T *sum, u32 rows, u32 width, float epsilon),
       (d_x, d_y, x, scale, sum, rows, width, epsilon))
KERNEL(gated_gelu, (const T *inner, T *y, u32 rows, u32 ff), (inner, y, rows, ff))
KERNEL(gated_gelu_backward, (const T *inner, const T *d_y, T *d_inner, u32 rows, u32 ff), (inner, d_y, d_inner, rows, ff))
KERNEL(gated_silu, (const T *inner, T *y, u32 rows, u32 ff), (inner, y, rows, ff))
KERNEL(gated_silu_backward, (const T *inner, const T *d_y, T *d_inner, u32 rows, u32 ff), (inner, d_y, d_inner, rows, ff))
KERNEL(relu, (const T *inner, T *y, u32 rows, u32 ff), (inner, y, rows, ff))
KERNEL(relu_backward, (const T *inner, const T *d_y, T *d_inner, u32 rows, u32 ff), (inner, d_y, d_inner, rows, ff))
KERNEL(softmax,
       (const T *scores, const u32 *lengths, const float *bias, T *p, u32 batch, u32 heads, u32 queries, u32 keys,
        u32 length, u32 position, u32 causal),
       (scores, lengths, bias, p, batch, heads, queries, keys, length, position, causal))
KERNEL(softmax_backward, (const T *p, const T *d_p, T *d_scores, u32 rows, u32 keys), (p, d_p, d_scores, rows, keys))
KERNEL(split_heads,
       (const T *x, const u32 *starts, T *y, u32 batch, u32 heads, u32 longest, u32 width, u32 rows, u32 columns,
        u32 column),
       (x, starts, y, batch, heads, longest, width, rows, columns, column))
KERNEL(merge_heads,
       (const T *first, const T *second, const T *third, const u32 *places, T *y, u32 rows, u32 parts, u32 heads,
        u32 width, u32 batch, u32 longest),
       (first, second, third, places, y, rows, parts, heads, width, batch, longest))
KERNEL(drop_rows,
       (const T *x, const u32 *keys, const u32 *places, T *y, u32 rows, u32 width, u32 examples, u32 site, u32 shared,
        u32 threshold, float kept),
       (x, keys, places, y, rows, width, examples, site, shared, threshold, kept))
KERNEL(drop_probabilities,
       (const T *p, const u32 *keys_of, const u32 *lengths, T *y, u32 batch, u32 heads, u32 queries, u32 keys, u32 site,
        u32 shared, u32 threshold, float kept),
       (p, keys_of, lengths, y, batch, heads, queries, keys, site, shared, threshold, kept))
KERNEL(cross_entropy,
       (const T *logits, const u32 *targets, float *losses, u32 rows, u32 vocab, float high, float low, float constant,
        float z_loss),
       (logits, targets, losses, rows, vocab, high, low, constant, z_loss))
KERNEL(cross_entropy_gradient,
       (const T *logits, const u32 *targets, const float *losses, T *d_logits, u32 rows, u32 vocab, float high, float low,
        float constant, float z_loss),
       (logits, targets, losses, d_logits, rows, vocab, high, low, constant, z_loss))
KERNEL(sum_rows,
       (const T *x, const u32 *starts, const u32 *named, float *sums, u32 rows, u32 width, u32 most, u32 names),
       (x, starts, named, sums, rows, width, most, names))
KERNEL(highest, (const T *x, u32 *at, u32 rows, u32 width), (x, at, rows, width))
