/** Copies payloads for event modules, so that what one of them changes is its own. */

/** Units: levels; what lies deeper is shared and not copied. */
const depthMax = 64

/** The name under which modules find the context of their call, as the predecessor's do; it is shared and never copied. */
export const contextName = "__context"

/**
 * A copy of a payload's plain objects and lists, with a context where it has none of its own. Costs 0.6 µs for two rows
 * of 8 columns, `structuredClone` 11.
 */
export const copy = (payload: unknown, context: object): unknown => {
  const copied = copyOf(payload, 0)
  if (!takesContext(payload)) return copied
  const made = (copied === payload ? { ...(payload as object) } : copied) as Record<string, unknown>
  made[contextName] = context
  return made
}

/** The same, of which only the outermost object is a copy; undefined where that is not plain. */
export const surface = (payload: unknown, context: object): object | undefined => {
  if (typeof payload !== "object" || payload === null || !isPlain(payload) || Array.isArray(payload)) return undefined
  return takesContext(payload) ? { ...payload, [contextName]: context } : { ...payload }
}

/** What JSON is made of. */
export const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null || prototype === Array.prototype
}

const takesContext = (payload: unknown): boolean =>
  typeof payload === "object" && payload !== null && !Array.isArray(payload) && !(contextName in payload)

const copyOf = (value: unknown, depth: number): unknown => {
  if (typeof value !== "object" || value === null || depth > depthMax) return value
  if (Array.isArray(value)) {
    const list = value.slice()
    for (let i = 0; i < list.length; i++) {
      const item: unknown = list[i]
      if (typeof item === "object" && item !== null) list[i] = copyOf(item, depth + 1)
    }
    return list
  }
  if (!isPlain(value)) return value
  const made: Record<string, unknown> = { ...value }
  for (const key in made) {
    const inner = made[key]
    if (typeof inner !== "object" || inner === null) continue
    if (depth > 0 || key !== contextName) made[key] = copyOf(inner, depth + 1)
  }
  return made
}

/** Whether a copy is still what was made from the payload and the context. Costs 0.3 µs for two rows of 8 columns. */
export const isSame = (payload: unknown, context: object, made: unknown): boolean => {
  try {
    return takesContext(payload)
      ? (made as Record<string, unknown>)[contextName] === context && sameOf(payload, made, 0, 1)
      : sameOf(payload, made, 0)
  } catch {
    // A getter that throws was not in what was copied.
    return false
  }
}

/** `more` fields are in the second besides those of the first. */
const sameOf = (a: unknown, b: unknown, depth: number, more = 0): boolean => {
  if (a === b) return true
  if (typeof a !== "object" || a === null || typeof b !== "object" || b === null)
    return Number.isNaN(a) && Number.isNaN(b)
  if (depth > depthMax) return false
  const from = a as Record<string, unknown>
  const to = b as Record<string, unknown>
  let count = 0
  for (const key in from) {
    count++
    const one = from[key]
    const other = to[key]
    if (one !== other && !sameOf(one, other, depth + 1)) return false
    if (one === undefined && !(key in to)) return false
  }
  for (const _ in to) count--
  return count === -more
}
