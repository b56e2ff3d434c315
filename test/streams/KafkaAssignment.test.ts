/** The shares of a group against what is promised: whole, even, sticky, and the same every time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import type { Place } from "../../src/services/Kafka.ts"
import { assign, type Subscriber } from "../../src/streams/KafkaAssignment.ts"

const small = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
/** Partitions of the topics t0 to t3; per member a set of topics as bits, and numbers that pick what it owned. */
const Counts = Schema.Tuple([small(0, 12), small(0, 12), small(0, 12), small(0, 12)])
const Members = Schema.Array(
  Schema.Struct({ topics: small(0, 15), owned: Schema.Array(small(0, 59)).check(Schema.isMaxLength(20)) })
).check(Schema.isMaxLength(7))

const topics = ["t0", "t1", "t2", "t3"]
const key = ({ partition, topic }: Place): string => `${topic}/${partition}`
const countsOf = (counts: ReadonlyArray<number>) => new Map(topics.map((topic, i) => [topic, counts[i]!]))
/** Owned may name what is claimed by others, not subscribed to, or beyond the last partition. */
const membersOf = (members: typeof Members.Type): ReadonlyArray<Subscriber> =>
  members.map(({ owned, topics: bits }, i) => ({
    id: `m${(i * 5) % 7}`,
    topics: topics.filter((_, bit) => (bits & (1 << bit)) !== 0),
    owned: owned.map((n) => ({ topic: topics[n % 4]!, partition: Math.floor(n / 4) }))
  }))
const places = (topic: string, ...partitions: ReadonlyArray<number>) =>
  partitions.map((partition) => ({ topic, partition }))

describe("KafkaAssignment", () => {
  it("shares in turn, and leaves everybody what he has when one comes or goes", () => {
    const topics = ["t"]
    const partitions = new Map([["t", 6]])
    const alone = assign([{ id: "a", topics, owned: [] }], partitions)
    assert.deepStrictEqual(alone.get("a"), places("t", 0, 1, 2, 3, 4, 5))
    const fresh = ["a", "b"].map((id) => ({ id, topics, owned: [] }))
    assert.deepStrictEqual(
      [...assign(fresh, partitions)],
      [
        ["a", places("t", 0, 2, 4)],
        ["b", places("t", 1, 3, 5)]
      ]
    )
    const joined = assign([{ id: "a", topics, owned: alone.get("a")! }, fresh[1]!], partitions)
    assert.deepStrictEqual(joined.get("a"), places("t", 0, 1, 2))
    const left = assign([{ id: "b", topics, owned: joined.get("b")! }], partitions)
    assert.strictEqual(left.get("b")!.length, 6)
  })

  it("leaves a partition that two claim to the first in the order of ids", () => {
    const owned = places("t", 0, 1)
    const shares = assign(
      ["b", "a"].map((id) => ({ id, topics: ["t"], owned })),
      new Map([["t", 3]])
    )
    assert.deepStrictEqual(shares.get("a"), owned)
    assert.deepStrictEqual(shares.get("b"), places("t", 2))
  })

  it.effect.prop("gives every partition to one who subscribed, evenly", [Counts, Members], ([counts, drawn]) =>
    Effect.sync(() => {
      const members = membersOf(drawn)
      const shares = assign(members, countsOf(counts))
      assert.deepStrictEqual([...shares.keys()].sort(), members.map(({ id }) => id).sort())
      const given = [...shares.values()].flat().map(key)
      const wanted = topics.flatMap((topic, i) =>
        members.some((member) => member.topics.includes(topic))
          ? Array.from({ length: counts[i]! }, (_, partition) => key({ topic, partition }))
          : []
      )
      assert.deepStrictEqual(given.sort(), wanted.sort())
      for (const { id, topics } of members) {
        for (const { topic } of shares.get(id)!) assert.include(topics, topic)
        for (const other of members.filter((member) => member.topics.join() === topics.join())) {
          assert.isAtMost(Math.abs(shares.get(id)!.length - shares.get(other.id)!.length), 1)
        }
      }
    })
  )

  it.effect.prop(
    "is the same for the same input, in any order, and once more for its own result",
    [Counts, Members],
    ([counts, drawn]) =>
      Effect.sync(() => {
        const members = membersOf(drawn)
        const shares = assign(members, countsOf(counts))
        assert.deepStrictEqual(assign([...members].reverse(), new Map([...countsOf(counts)].reverse())), shares)
        assert.deepStrictEqual(
          assign(
            members.map((member) => ({ ...member, owned: shares.get(member.id)! })),
            countsOf(counts)
          ),
          shares
        )
      })
  )

  it.effect.prop(
    "lets members with equal subscriptions keep as much as any even share can",
    [Counts, Members],
    ([counts, drawn]) =>
      Effect.sync(() => {
        if (drawn.length === 0) return
        const partitions = countsOf(counts)
        const members = membersOf(drawn.map((member) => ({ ...member, topics: 15 })))
        const shares = assign(members, partitions)
        const total = counts.reduce((sum, count) => sum + count, 0)
        const each = Math.floor(total / members.length)
        const taken = new Set<string>()
        const owned = [...members]
          .sort((a, b) => (a.id < b.id ? -1 : 1))
          .map((member) => {
            const own = new Set(
              member.owned.filter((_) => _.partition < partitions.get(_.topic)! && !taken.has(key(_))).map(key)
            )
            for (const one of own) taken.add(one)
            return { id: member.id, own }
          })
        const kept = owned.reduce(
          (sum, { id, own }) => sum + shares.get(id)!.filter((place) => own.has(key(place))).length,
          0
        )
        const over = owned.filter(({ own }) => own.size > each).length
        const best = owned.reduce((sum, { own }) => sum + Math.min(own.size, each), 0)
        assert.strictEqual(kept, best + Math.min(over, total % members.length))
      })
  )
})
