/** Inboxes in memory: for tests, and the reference of what a store does. */
import { Effect, Layer } from "effect"
import { type Held, Inbox } from "../services/Inbox.ts"

interface Batch {
  readonly batch: number
  readonly bytes: Uint8Array
  readonly items: number
  readonly settled: Set<number>
  /** Undefined when nobody has it. */
  owner: symbol | undefined
  holder: number
}

/** One process that uses the store. */
export interface Process {
  readonly inbox: Inbox["Service"]
  /** It is gone from one moment to the next: its boxes write nothing more, and others find what they held. */
  readonly kill: Effect.Effect<void>
}

/** What several processes share. */
export const makeStore = (): { readonly process: () => Process } => {
  const names = new Map<string, Map<number, Batch>>()
  let last = 0
  const batchesOf = (name: string): Map<number, Batch> => {
    const known = names.get(name) ?? new Map<number, Batch>()
    names.set(name, known)
    return known
  }
  const process = (): Process => {
    const owners = new Set<symbol>()
    const leave = (owner: symbol): void => {
      owners.delete(owner)
      for (const batches of names.values()) {
        for (const batch of batches.values()) if (batch.owner === owner) batch.owner = undefined
      }
    }
    const inbox = Inbox.of({
      open: Effect.fnUntraced(function* (name) {
        const batches = batchesOf(name)
        const owner = Symbol(name)
        yield* Effect.acquireRelease(
          Effect.sync(() => owners.add(owner)),
          () => Effect.sync(() => leave(owner))
        )
        const left: Array<Held> = []
        for (const one of batches.values()) {
          if (one.owner !== undefined) continue
          one.owner = owner
          one.holder++
          left.push({ batch: one.batch, holder: one.holder, bytes: one.bytes, settled: new Set(one.settled) })
        }
        return {
          left,
          put: (bytes, items) =>
            Effect.sync(() => {
              const batch = ++last
              batches.set(batch, { batch, bytes: bytes.slice(), items, settled: new Set(), owner, holder: 1 })
              return batch
            }),
          settle: (batch, item) => {
            const one = batches.get(batch)
            if (one?.owner !== owner || !owners.has(owner)) return
            one.settled.add(item)
            if (one.settled.size === one.items) batches.delete(batch)
          },
          flush: Effect.void
        }
      })
    })
    return { inbox, kill: Effect.sync(() => [...owners].forEach(leave)) }
  }
  return { process }
}

export const make = (): Inbox["Service"] => makeStore().process().inbox

export const layer: Layer.Layer<Inbox> = Layer.sync(Inbox, make)
