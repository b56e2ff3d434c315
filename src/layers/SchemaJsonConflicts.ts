/** x. */
export const conflicts = (..._: ReadonlyArray<unknown>): ReadonlyArray<string> => []
