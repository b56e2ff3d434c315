export const detector = () => {
  console.log("one")
  console.log("two")
  process.stdout.write("three\n")
  console.error("four")
  process.stderr.write("five\n")
  while (true);
}

export const handler = () => undefined
