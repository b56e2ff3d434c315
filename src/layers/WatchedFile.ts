/** A file whose content is read again when it has changed; one that is broken or gone leaves what was read last. */
import { readFileSync, statSync } from "node:fs"
import { Result } from "effect"
import * as Utf8 from "./Utf8.ts"

/** Units: milliseconds between two looks, which happen when somebody asks. */
const lookMillis = 1_000
/** Units: bytes. */
const bytesMax = 16 * 1024 * 1024

/** Says what is wrong with a text, in words that show nothing of it. */
export type Parse<A> = (text: string) => Result.Result<A, string>

/**
 * Looks once a second at most, and at once: a look costs some microseconds where a fiber for each request would cost
 * more, and a file that has changed is small and read in one go.
 */
export class WatchedFile<A> {
  value: A
  private readonly path: string
  private readonly parse: Parse<A>
  private stamp: string
  private lookedAt: number
  private problem: string | undefined

  private constructor(path: string, parse: Parse<A>, first: Read<A>, now: number) {
    this.path = path
    this.parse = parse
    this.value = first.value
    this.stamp = first.stamp
    this.lookedAt = now
  }

  /** Fails with what is wrong. */
  static open<A>(path: string, parse: Parse<A>, now: number): Result.Result<WatchedFile<A>, string> {
    const stamp = stampOf(path)
    return Result.map(read(path, stamp, parse), (first) => new WatchedFile(path, parse, first, now))
  }

  /** Brings `value` up to date; what has newly gone wrong, or right again, comes back once. */
  look(now: number): { readonly broken: boolean; readonly words: string } | undefined {
    if (now >= this.lookedAt && now - this.lookedAt < lookMillis) return undefined
    this.lookedAt = now
    const stamp = stampOf(this.path)
    if (stamp === this.stamp) return undefined
    const next = read(this.path, stamp, this.parse)
    const before = this.problem
    if (Result.isFailure(next)) {
      this.problem = next.failure
      this.stamp = stamp
      return before === undefined ? { broken: true, words: next.failure } : undefined
    }
    this.problem = undefined
    this.value = next.success.value
    this.stamp = stamp
    return before === undefined ? undefined : { broken: false, words: "can be read again" }
  }
}

interface Read<A> {
  readonly value: A
  readonly stamp: string
}

/** What changes with every change: a file that takes another's place has another number. */
const stampOf = (path: string): string => {
  const stat = Result.try(() => statSync(path, { bigint: true }))
  if (Result.isFailure(stat)) return ""
  const { ctimeNs, dev, ino, mtimeNs, size } = stat.success
  return [dev, ino, size, mtimeNs, ctimeNs].join(" ")
}

/** Stamped before it was read: what changes meanwhile is seen at the next look. */
const read = <A>(path: string, stamp: string, parse: Parse<A>): Result.Result<Read<A>, string> => {
  const bytes = Result.try({
    try: () => {
      if (statSync(path).size > bytesMax) throw Object.assign(new Error(), { code: `more than ${bytesMax} bytes` })
      return readFileSync(path)
    },
    catch: (error) => {
      const { code = "it" } = error as NodeJS.ErrnoException
      return code === "ENOENT" ? "there is no such file" : `cannot be read (${code})`
    }
  })
  if (Result.isFailure(bytes)) return Result.fail(bytes.failure)
  const text = Utf8.decode(bytes.success)
  return text === undefined ? Result.fail("is not UTF-8 text") : Result.map(parse(text), (value) => ({ value, stamp }))
}
