/** Things in the order they came, each of which may leave at any time. */

/**
 * A Set would do, but its tables are linked to the tables that took their place: once one has grown old, all that was in
 * the later ones outlives its use until the whole heap is collected. Measured in the gateway: 4 KiB for each request.
 */
export interface Link<A> {
  before: A | undefined
  after: A | undefined
}

export class Linked<A extends Link<A>> implements Iterable<A> {
  first: A | undefined
  private last: A | undefined
  size = 0

  /** It must not be in yet. */
  add(one: A): void {
    one.before = this.last
    if (this.last === undefined) this.first = one
    else this.last.after = one
    this.last = one
    this.size++
  }

  /** Does nothing when it has left already. */
  remove(one: A): void {
    const { after, before } = one
    if (before === undefined && this.first !== one) return
    if (before === undefined) this.first = after
    else before.after = after
    if (after === undefined) this.last = before
    else after.before = before
    one.before = undefined
    one.after = undefined
    this.size--
  }

  /** None may leave in between. */
  *[Symbol.iterator](): Generator<A> {
    for (let one = this.first; one !== undefined; one = one.after) yield one
  }
}
