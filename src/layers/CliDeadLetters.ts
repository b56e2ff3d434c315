/** What the command line does with dead letters. */
import { Buffer } from "node:buffer"
import { Console, DateTime, Effect, Option, Schema } from "effect"
import { DeadLetters, type Letter, type Replayed } from "../services/DeadLetters.ts"
import { Runners } from "../services/Runners.ts"
import { lines, oneLine } from "../streams/OneLine.ts"
import * as App from "./App.ts"
import type { Loaded } from "./Config.ts"
import * as Utf8 from "./Utf8.ts"
import * as Wiring from "./Wiring.ts"

/** There is no such letter. */
export class UnknownLetter extends Schema.TaggedError<UnknownLetter>()("UnknownLetter", { id: Schema.String }) {
  override get message(): string {
    return `there is no dead letter ${this.id}`
  }
}

/** Only the pipelines of this config: a store may hold those of others too. */
const lettersOf = Effect.fnUntraced(function* (loaded: Loaded, ids: ReadonlyArray<string>) {
  const deadLetters = yield* DeadLetters
  const letters = yield* deadLetters.list(ids.length === 0 ? {} : { ids })
  const own = letters.filter(({ pipeline }) => Object.hasOwn(loaded.config.pipelines, pipeline))
  const missing = ids.find((id) => !own.some((letter) => letter.id === id))
  return missing === undefined ? own : yield* new UnknownLetter({ id: missing })
})

export const list = Effect.fnUntraced(function* (loaded: Loaded, json: boolean) {
  const letters = yield* lettersOf(loaded, [])
  if (json) return yield* Console.log(JSON.stringify(letters.map(summary)))
  if (letters.length === 0) return yield* Console.log("no dead letters")
  for (const letter of letters) {
    const { at, attempts, event = "-", id, pipeline, reason } = summary(letter)
    yield* Console.log(oneLine(`${id}  ${at}  ${pipeline}  ${event ?? "-"}  attempts ${attempts}  ${reason}`))
  }
})

export const show = Effect.fnUntraced(function* (id: string, json: boolean) {
  const deadLetters = yield* DeadLetters
  const letter = Option.getOrUndefined(yield* deadLetters.get(id))
  if (letter === undefined) return yield* new UnknownLetter({ id })
  const whole = detail(letter)
  if (json) return yield* Console.log(JSON.stringify(whole))
  for (const [name, value] of Object.entries(whole)) {
    yield* Console.log(lines(`${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`))
  }
})

/** Hands the letters of each pipeline to the process that runs it, or runs them here. */
export const replay = Effect.fnUntraced(function* (loaded: Loaded, ids: ReadonlyArray<string>, json: boolean) {
  const letters = yield* lettersOf(loaded, ids)
  const outcomes = yield* Effect.scoped(
    Effect.gen(function* () {
      const runners = yield* Runners
      const all: Array<Replayed> = []
      for (const [pipeline, group] of Object.entries(Object.groupBy(letters, (letter) => letter.pipeline))) {
        if (group === undefined) continue
        all.push(
          ...((yield* runners.running(pipeline))
            ? yield* runners.requestReplay(
                pipeline,
                group.map((letter) => letter.id)
              )
            : yield* here(loaded, pipeline, group))
        )
      }
      return all
    })
  )
  if (json) return yield* Console.log(JSON.stringify(outcomes))
  if (outcomes.length === 0) return yield* Console.log("no dead letters")
  for (const { id, outcome, reason } of outcomes) {
    yield* Console.log(oneLine(`${id}  ${outcome}${reason === undefined ? "" : `  ${reason}`}`))
  }
})

const here = Effect.fnUntraced(function* (loaded: Loaded, pipeline: string, letters: ReadonlyArray<Letter>) {
  const plans = yield* Wiring.plans({
    ...loaded,
    config: { ...loaded.config, pipelines: { [pipeline]: loaded.config.pipelines[pipeline]! } }
  })
  return yield* App.replayHere(plans[0]!, letters)
})

export const purge = Effect.fnUntraced(function* (loaded: Loaded, ids: ReadonlyArray<string>, json: boolean) {
  const deadLetters = yield* DeadLetters
  const letters = yield* lettersOf(loaded, ids)
  const purged = yield* deadLetters.remove(letters.map(({ id }) => id))
  yield* Console.log(json ? JSON.stringify({ purged }) : `purged ${purged}`)
})

const iso = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

const summary = ({ at, attempts, event, id, leg, pipeline, reason, stage }: Letter) => ({
  id,
  pipeline,
  event: event ?? null,
  leg: leg ?? null,
  stage,
  reason,
  attempts,
  at: iso(at)
})

const detail = (letter: Letter) => {
  const { headers, id, key, partition, payload, position, receivedAt, source, tombstone } = letter.envelope
  return {
    ...summary(letter),
    envelope: {
      id,
      source,
      key: key ?? null,
      ...(partition === undefined ? undefined : { partition }),
      position: position ?? null,
      headers,
      receivedAt: iso(receivedAt)
    },
    payload: tombstone === true ? null : (Utf8.decode(payload) ?? { base64: Buffer.from(payload).toString("base64") })
  }
}
