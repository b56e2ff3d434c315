/** Puts what is published for a partition and how far it is read into one transaction, fenced by the partition's own id. */
import { Effect, Exit, Result, Scope, Semaphore } from "effect"
import {
  type Committed,
  type KafkaClient,
  KafkaError,
  type KafkaMessage,
  type Member,
  type Place,
  type Transactions,
  type TransactionsOptions
} from "../services/Kafka.ts"
import { nameOf, type Partition } from "./KafkaPartition.ts"

export interface Options extends Omit<TransactionsOptions, "transactionalId"> {
  readonly client: KafkaClient["Service"]
  readonly member: Member
  /** Somebody else has the id now: the partition is no longer ours. */
  readonly onFenced: (partition: Partition) => void
}

interface Held {
  readonly transactions: Transactions
  readonly scope: Scope.Closeable
  /** One at a time. */
  readonly alone: Semaphore.Semaphore
  /** Sent, and not known to be committed. */
  doubt: { readonly offset: Committed; readonly settling: ReadonlySet<number> } | undefined
}

/** A record, and the offset it answers. */
export interface Answer {
  readonly offset: number
  readonly message: KafkaMessage
}

/** Units: partitions fenced at the same time. */
const fencesMax = 8

export class KafkaTransactions {
  private readonly held = new Map<string, Held>()
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  /** Returns once nobody who had these partitions before can commit anything of them any more. */
  take(places: ReadonlyArray<Place>): Effect.Effect<void, KafkaError> {
    return Effect.forEach(places, (place) => Effect.flatMap(this.hold(place), takeAnew), {
      concurrency: fencesMax,
      discard: true
    })
  }

  /** Gives up all but these. */
  keep(names: ReadonlySet<string>): Effect.Effect<void> {
    const others = [...this.held].filter(([name]) => !names.has(name))
    return Effect.forEach(
      others,
      ([name, { scope }]) => {
        this.held.delete(name)
        return Scope.close(scope, Exit.void)
      },
      { discard: true }
    )
  }

  /**
   * Writes the messages and notes the offsets they answer as settled, both or none; without messages, what is settled.
   *
   * Without an answer the outcome is found out, at once or before the next transaction: whoever opens the id anew ends
   * what was open, and the committed map tells how.
   */
  commit(partition: Partition, answers: ReadonlyArray<Answer>): Effect.Effect<void, KafkaError> {
    return Effect.flatMap(this.hold(partition.place), (held) =>
      Effect.gen({ self: this }, function* () {
        if (partition.lost) return yield* elsewhere(partition)
        yield* this.resolve(held, partition)
        const settling = new Set<number>()
        // After a fence the same offset may be answered twice: by what was at work before, and by what came again.
        const open = answers.filter(({ offset }) => {
          const isFirst = partition.isOpen(offset) && !settling.has(offset)
          if (isFirst) settling.add(offset)
          return isFirst
        })
        const news = partition.commit(settling)
        if (news === undefined) {
          if (open.length === 0) return
          // A position that does not show them could not tell later whether they were written.
          const reason = `${partition.name} waits until what is settled fits into a commit`
          return yield* new KafkaError({ trouble: "away", reason })
        }
        held.doubt = { offset: news, settling }
        const result = yield* Effect.result(
          held.transactions.commit(
            open.map(({ message }) => message),
            [news]
          )
        )
        if (Result.isSuccess(result)) return this.committed(held, partition)
        const { trouble } = result.failure
        if (trouble === "fenced") this.options.onFenced(partition)
        else if (yield* this.resolve(held, partition)) return
        return yield* result.failure
      }).pipe(Semaphore.withPermits(held.alone, 1))
    )
  }

  /** True when the transaction in doubt was committed. */
  private readonly resolve = Effect.fnUntraced({ self: this }, function* (held: Held, partition: Partition) {
    const { doubt } = held
    if (doubt === undefined) return false
    yield* held.transactions.fence
    const [now] = yield* this.options.member.committed([partition.place])
    if (isSame(now, doubt.offset)) {
      this.committed(held, partition)
      return true
    }
    held.doubt = undefined
    partition.denied()
    if (partition.agrees(now)) return false
    // Somebody else has committed in between: by opening the id anew we took it from him, so he will take it back.
    this.options.onFenced(partition)
    return yield* elsewhere(partition)
  })

  private committed(held: Held, partition: Partition): void {
    const { offset, settling } = held.doubt!
    held.doubt = undefined
    partition.confirmed(offset)
    for (const one of settling) partition.settle(one)
  }

  private hold(place: Place): Effect.Effect<Held> {
    const name = nameOf(place)
    const known = this.held.get(name)
    if (known !== undefined) return Effect.succeed(known)
    return Effect.gen({ self: this }, function* () {
      const { client, group } = this.options
      const scope = yield* Scope.make()
      const opened = client.transactions({ ...this.options, transactionalId: `sluice/${group}/${name}` })
      const transactions = yield* Scope.provide(opened, scope)
      const held: Held = { transactions, scope, alone: Semaphore.makeUnsafe(1), doubt: undefined }
      this.held.set(name, held)
      return held
    })
  }
}

/** What is read after this is known to be the last word: also of what we sent ourselves. */
const takeAnew = (held: Held): Effect.Effect<void, KafkaError> =>
  Effect.andThen(
    Effect.sync(() => {
      held.doubt = undefined
    }),
    held.transactions.fence
  ).pipe(Semaphore.withPermits(held.alone, 1))

export const elsewhere = ({ name }: Pick<Partition, "name">): KafkaError =>
  new KafkaError({ trouble: "fenced", reason: `${name} is read by another member now` })

const isSame = (one: Committed | undefined, other: Committed): boolean =>
  one?.offset === other.offset && one.metadata === other.metadata
