/** Runs the benchmarks: each prints a ratio against a baseline of the same process. `npm run bench hot flat` runs some. */
import * as Flat from "./flat.ts"
import * as HeadOfLine from "./headOfLine.ts"
import * as Hot from "./hot.ts"
import * as Memory from "./memory.ts"
import * as Sleep from "./sleep.ts"

const benches: Readonly<Record<string, () => Promise<void>>> = {
  hot: Hot.run,
  sleep: Sleep.run,
  flat: Flat.run,
  headOfLine: HeadOfLine.run,
  memory: Memory.run
}

const asked = process.argv.slice(2)
for (const [name, run] of Object.entries(benches)) if (asked.length === 0 || asked.includes(name)) await run()
