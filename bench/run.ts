/** Runs the benchmarks: each prints a ratio against a baseline. `npm run bench hot flat` runs some; those with brokers, emulators and other programs only when they are named. */
import * as AzureQueue from "./azureQueue.ts"
import * as EventRelay from "./eventRelay.ts"
import * as Flat from "./flat.ts"
import * as Gateway from "./gateway.ts"
import * as GatewayHostile from "./gatewayHostile.ts"
import * as HeadOfLine from "./headOfLine.ts"
import * as Hot from "./hot.ts"
import * as KafkaCopy from "./kafkaCopy.ts"
import * as KafkaHttp from "./kafkaHttp.ts"
import * as KafkaLedger from "./kafkaLedger.ts"
import * as Memory from "./memory.ts"
import * as Modules from "./modules.ts"
import * as Sleep from "./sleep.ts"

const benches: Readonly<Record<string, () => Promise<void>>> = {
  hot: Hot.run,
  sleep: Sleep.run,
  flat: Flat.run,
  headOfLine: HeadOfLine.run,
  memory: Memory.run,
  modules: Modules.run,
  kafkaHttp: KafkaHttp.run,
  kafkaCopy: KafkaCopy.run,
  kafkaLedger: KafkaLedger.main,
  azureQueue: AzureQueue.run,
  eventRelay: EventRelay.run,
  gateway: Gateway.run,
  gatewayHostile: GatewayHostile.run
}

// So that what was started ends too.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1))

const asked = process.argv.slice(2)
const isAsked = (name: string): boolean =>
  asked.length === 0 ? !/^(?:kafka|azure|eventRelay|gateway)/.test(name) : asked.includes(name)
for (const [name, run] of Object.entries(benches)) if (isAsked(name)) await run()
