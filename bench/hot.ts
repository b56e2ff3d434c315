/** CPU per message of the road beside a raw loop over the same bytes. */
import { compare } from "./shop.ts"

export const run = async (): Promise<void> => {
  const { ratio, raw, road } = await compare(400_000, 1000, 7)
  console.log(
    `hot: road ${road.toFixed(2)} us, raw loop ${raw.toFixed(2)} us of CPU per message: ${ratio.toFixed(2)} times (wanted: at most 1.6)`
  )
}
