/** The compressions of Kafka that kafkajs leaves to others: snappy, lz4 and zstd. */
import type { Buffer } from "node:buffer"
import { createRequire } from "node:module"
import { promisify } from "node:util"
import { zstdCompress, zstdDecompress } from "node:zlib"
import kafkajs from "kafkajs"
import { compressFrame, decompressFrame } from "lz4-napi"

const { CompressionCodecs, CompressionTypes } = kafkajs

interface Encoder {
  readonly buffer: Buffer
}

const codec = (compress: (data: Buffer) => Promise<Buffer>, decompress: (data: Buffer) => Promise<Buffer>) => () => ({
  compress: (encoder: Encoder) => compress(encoder.buffer),
  decompress
})

/** Registers them with the vendor, once for the process. */
export const register = (): void => {
  CompressionCodecs[CompressionTypes.Snappy] = createRequire(import.meta.url)("kafkajs-snappy")
  CompressionCodecs[CompressionTypes.LZ4] = codec(compressFrame, decompressFrame)
  CompressionCodecs[CompressionTypes.ZSTD] = codec(promisify(zstdCompress), promisify(zstdDecompress))
}
