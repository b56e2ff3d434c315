/** x */
export const known: Record<string, ReadonlyMap<string, string>> = { "draft-07": new Map(), "2019-09": new Map(), "2020-12": new Map() }
export const remote = (name: string): boolean => /^refRemote\.json/.test(name)
