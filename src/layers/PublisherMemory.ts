/** Keeps what was published in memory: for tests, and the reference of what a publisher does. */
import { Effect, Schema } from "effect"
import * as Component from "../services/Component.ts"
import type { Outgoing, PublishError, Publisher } from "../services/Publisher.ts"

export interface MemoryPublisher extends Publisher {
  /** Everything confirmed so far, in order. */
  readonly published: ReadonlyArray<Outgoing>
}

export interface Options {
  readonly name?: string | undefined
  readonly batchMax?: number | undefined
  readonly inFlightMax?: number | undefined
  /** Runs before a batch is kept: to wait, or to fail. */
  readonly before?: ((batch: ReadonlyArray<Outgoing>) => Effect.Effect<void, PublishError>) | undefined
}

export const make = ({ batchMax = 500, before, inFlightMax = 4, name = "memory" }: Options = {}): MemoryPublisher => {
  const published: Array<Outgoing> = []
  const keep = (batch: ReadonlyArray<Outgoing>) =>
    Effect.sync(() => {
      published.push(...batch)
    })
  return {
    name,
    published,
    batchMax,
    inFlightMax,
    publish: (batch) => (before === undefined ? keep(batch) : Effect.andThen(before(batch), keep(batch)))
  }
}

export const component = Component.publisher({
  type: "memory",
  summary: "Keeps what is published in memory; for tests.",
  options: Schema.Struct({}),
  make: () => Effect.sync(() => make())
})
