/** BLAKE2b hash (RFC 7693), unkeyed, of up to 2**32 bytes. Mirrors `hashlib.blake2b`. */

const BLOCK_BYTES = 128;
const MASK = (1n << 64n) - 1n;
// Fractional parts of the square roots of the first eight primes, as in SHA-512.
const INITIAL = [
  0x6a09e667f3bcc908n,
  0xbb67ae8584caa73bn,
  0x3c6ef372fe94f82bn,
  0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n,
  0x9b05688c2b3e6c1fn,
  0x1f83d9abfb41bd6bn,
  0x5be0cd19137e2179n,
];
const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
// Words that each of the eight mixing steps of a round combines: four columns, then four diagonals.
const MIXED_WORDS = [
  [0, 4, 8, 12],
  [1, 5, 9, 13],
  [2, 6, 10, 14],
  [3, 7, 11, 15],
  [0, 5, 10, 15],
  [1, 6, 11, 12],
  [2, 7, 8, 13],
  [3, 4, 9, 14],
];
const ROUNDS = 12;

function rotateRight(word, bits) {
  return ((word >> bits) | (word << (64n - bits))) & MASK;
}

function mix(v, [a, b, c, d], x, y) {
  v[a] = (v[a] + v[b] + x) & MASK;
  v[d] = rotateRight(v[d] ^ v[a], 32n);
  v[c] = (v[c] + v[d]) & MASK;
  v[b] = rotateRight(v[b] ^ v[c], 24n);
  v[a] = (v[a] + v[b] + y) & MASK;
  v[d] = rotateRight(v[d] ^ v[a], 16n);
  v[c] = (v[c] + v[d]) & MASK;
  v[b] = rotateRight(v[b] ^ v[c], 63n);
}

function compress(state, block, count, isLast) {
  const v = [...state, ...INITIAL];
  v[12] ^= BigInt(count);
  if (isLast) v[14] ^= MASK;
  for (let round = 0; round < ROUNDS; round++) {
    const order = SIGMA[round % SIGMA.length];
    for (const [step, words] of MIXED_WORDS.entries()) {
      mix(v, words, block.getBigUint64(8 * order[2 * step], true), block.getBigUint64(8 * order[2 * step + 1], true));
    }
  }
  for (let index = 0; index < 8; index++) state[index] ^= v[index] ^ v[index + 8];
}

/**
 * Compute the BLAKE2b hash of bytes.
 *
 * @param {Uint8Array} content - The bytes.
 * @param {number} size - Bytes of the hash, 1 to 64.
 * @returns {Uint8Array} The hash.
 */
export function hashBlake2b(content, size) {
  const state = [...INITIAL];
  state[0] ^= 0x01010000n ^ BigInt(size);
  const blocks = Math.max(1, Math.ceil(content.length / BLOCK_BYTES));
  for (let index = 0; index < blocks; index++) {
    const block = new Uint8Array(BLOCK_BYTES);
    block.set(content.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES));
    const isLast = index === blocks - 1;
    const count = isLast ? content.length : (index + 1) * BLOCK_BYTES;
    compress(state, new DataView(block.buffer), count, isLast);
  }
  const output = new DataView(new ArrayBuffer(64));
  for (const [index, word] of state.entries()) output.setBigUint64(8 * index, word, true);
  return new Uint8Array(output.buffer, 0, size);
}
