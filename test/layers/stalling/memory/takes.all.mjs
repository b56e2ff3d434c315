export const detector = () => {
  const all = []
  for (;;) all.push(new Array(100).fill(Math.random()))
}

export const handler = () => undefined
