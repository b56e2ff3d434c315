/** What is said of the URL of a database. */
import { assert, describe, it } from "vitest"
import { placeOf } from "../../src/layers/PostgresUrl.ts"

describe("PostgresUrl", () => {
  it("says where a URL leads to, as the driver reads it", () => {
    const cases: ReadonlyArray<readonly [string, string, number, string | undefined]> = [
      ["postgres://u:p@db.example:6543/main", "db.example", 6543, "main"],
      ["postgresql://u:p%40%2F%3F@db/a%20b?sslmode=require", "db", 5432, "a b"],
      ["postgres://u@[::1]/main", "::1", 5432, "main"],
      ["postgres://u@db", "db", 5432, "u"],
      ["postgres://db", "db", 5432, undefined],
      ["postgres:///main?host=/var/run/postgresql&port=5433", "/var/run/postgresql", 5433, "main"],
      ["postgres://x/y?host=db&dbname=main&user=u&password=p", "db", 5432, "main"]
    ]
    for (const [url, host, port, database] of cases) assert.deepStrictEqual(placeOf(url), { host, port, database }, url)
  })

  it("takes no URL in which a part of the password would be named", () => {
    const wrong = ["", "x", "http://u:p@h/d", "postgres://u:a/b@h/d", "postgres://u:1/b@h/d", "postgres://u:1?b@h/d"]
    wrong.push("postgres://u:1#b@h/d", "postgres://u:%b@h/d", "postgres://h:99999/d", "postgres://h/d?port=secret")
    for (const url of wrong) assert.isUndefined(placeOf(url), url)
  })
})
