/** The journal in memory: for tests, and the reference of what a store does. */
import { Effect, Layer } from "effect"
import { type Entry, Journal, type Query } from "../services/Journal.ts"

export interface Options {
  /** How long entries are kept, counted back from the newest. Units: milliseconds. */
  readonly keepMillis?: number | undefined
  /** How many entries are kept, the oldest forgotten first. */
  readonly keepMax?: number | undefined
}

export const make = ({ keepMax = 100_000, keepMillis = 7 * 86_400_000 }: Options = {}): Journal["Service"] => {
  let entries: Array<Entry> = []
  let from = 0
  return {
    note: (entry) => {
      entries.push(entry)
      while (entries.length - from > keepMax || entries[from]!.at <= entry.at - keepMillis) from++
      // Cut only now and then: each cut copies all that is kept.
      if (from <= keepMax) return
      entries = entries.slice(from)
      from = 0
    },
    find: (query) =>
      Effect.sync(() =>
        entries
          .slice(from)
          .filter((entry) => matches(entry, query))
          .sort((a, b) => a.at - b.at)
          .slice(-query.limit)
      )
  }
}

export const layer = (options?: Options): Layer.Layer<Journal> => Layer.sync(Journal, () => make(options))

const matches = (entry: Entry, { event, id, outcome, pipeline, since }: Query): boolean =>
  (pipeline === undefined || entry.pipeline === pipeline) &&
  (id === undefined || entry.id === id) &&
  (event === undefined ||
    entry.steps.some((step) => step.event === event) ||
    entry.detected.some((one) => one.event === event && one.verdict === "yes")) &&
  (outcome === undefined || entry.outcome === outcome) &&
  (since === undefined || entry.at >= since)
