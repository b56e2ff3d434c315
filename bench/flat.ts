/** Cost per message over the number of messages and of keys, against 100,000 messages of 1,000 keys. */
import { compare } from "./shop.ts"

export const run = async (): Promise<void> => {
  const base = await compare(100_000, 1000, 3)
  for (const [count, keys] of [
    [10_000, 1000],
    [1_000_000, 1000],
    [100_000, 1],
    [100_000, 100_000]
  ] as const) {
    const { road } = await compare(count, keys, 3)
    console.log(
      `flat: ${count} messages, ${keys} keys: ${road.toFixed(2)} us, ${(road / base.road).toFixed(2)} of ${base.road.toFixed(2)} us at 100000 and 1000`
    )
  }
}
