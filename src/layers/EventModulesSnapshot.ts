/** Remembers a payload as it is, so that what somebody wrote to it is noticed and taken back: cheaper than a copy. */
import * as Copy from "./EventModulesCopy.ts"

/** Units: objects and lists, and the fields in them. What has more is not remembered. */
const objectsMax = 2_000
const fieldsMax = 20_000

/** Used again and again: it holds the parts of one payload at a time. */
export class Snapshot {
  private readonly objects: Array<object> = []
  /** Of each object, where its fields begin. */
  private readonly begins: Array<number> = []
  private readonly names: Array<string> = []
  private readonly values: Array<unknown> = []
  private objectCount = 0
  private fieldCount = 0

  /** Whether the payload could be remembered: it is not too large, and has no circles. */
  take(payload: object): boolean {
    this.objectCount = this.fieldCount = 0
    const { begins, objects } = this
    objects[this.objectCount++] = payload
    for (let i = 0; i < this.objectCount; i++) {
      if (this.objectCount > objectsMax || this.fieldCount > fieldsMax) return false
      begins[i] = this.fieldCount
      const one = objects[i]!
      if (Array.isArray(one)) for (let at = 0; at < one.length; at++) this.remember("", one[at])
      else for (const name in one) this.remember(name, (one as Fields)[name])
    }
    begins[this.objectCount] = this.fieldCount
    return true
  }

  private remember(name: string, value: unknown): void {
    this.names[this.fieldCount] = name
    this.values[this.fieldCount++] = value
    if (typeof value === "object" && value !== null && Copy.isPlain(value) && name !== Copy.contextName)
      this.objects[this.objectCount++] = value
  }

  /** Whether the payload still is as it was. */
  holds(): boolean {
    for (let i = 0; i < this.objectCount; i++) if (!this.holdsFor(i)) return false
    return true
  }

  private holdsFor(index: number): boolean {
    try {
      return this.compare(index)
    } catch {
      // A getter that throws was not there before.
      return false
    }
  }

  private compare(index: number): boolean {
    const { begins, names, values } = this
    const one = this.objects[index]!
    let at = begins[index]!
    const end = begins[index + 1]!
    if (Array.isArray(one)) {
      if (one.length !== end - at) return false
      for (const value of one) if (!isSame(value, values[at++])) return false
      return true
    }
    for (const name in one) {
      if (at === end || name !== names[at] || !isSame((one as Fields)[name], values[at])) return false
      at++
    }
    return at === end
  }

  /** Makes the payload what it was, down to the order of its fields. */
  restore(): void {
    const { begins, names, values } = this
    for (let i = 0; i < this.objectCount; i++) {
      if (this.holdsFor(i)) continue
      const one = this.objects[i]!
      const [begin, end] = [begins[i]!, begins[i + 1]!]
      // What was frozen besides stays as it is: `Reflect` does not throw.
      if (Array.isArray(one)) {
        Reflect.set(one, "length", end - begin)
        for (let at = begin; at < end; at++) Reflect.set(one, at - begin, values[at])
      } else {
        for (const name of Object.keys(one)) Reflect.deleteProperty(one, name)
        for (let at = begin; at < end; at++) Reflect.set(one, names[at]!, values[at])
      }
    }
  }
}

type Fields = Record<string, unknown>

const isSame = (a: unknown, b: unknown): boolean => a === b || (Number.isNaN(a) && Number.isNaN(b))
