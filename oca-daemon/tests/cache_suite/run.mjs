// Runs the HTTP cache-tests as their own client does, but for the order: tests in which upstream breaks its connections come last and a
// few at a time, because an upstream that breaks five in a row is left alone for a while.
//
//   node run.mjs SUITE BASE >RESULTS
//
// SUITE is the suite's folder, BASE the URL of the cache.
import fs from 'fs'
import path from 'path'
import process from 'process'
import { pathToFileURL } from 'url'

const [suite, base] = process.argv.slice(2)
const load = (name, query = '') => import(pathToFileURL(path.resolve(suite, name)).href + query)
const isRelease = !fs.existsSync(path.join(suite, 'test-engine'))
const engine = isRelease ? '' : 'test-engine/'

const suites = (await load('tests/index.mjs')).default
if (isRelease) suites.push((await load('tests/surrogate-control.mjs')).default)
const breaks = test => test.requests.some(request => request.disconnect === true)
const only = keep => suites.map(({ tests, ...rest }) => ({ ...rest, tests: tests.filter(keep) }))

// The release's runner keeps what it was given before: a fresh one for each part. Results are kept elsewhere, and together.
async function run (name, tests, atOnce) {
  const { runTests } = await load(`${engine}client/runner.mjs`, `?${name}`)
  if (isRelease) {
    const fetch = (await import(pathToFileURL(path.resolve(suite, 'node_modules/node-fetch/lib/index.mjs')).href)).default
    await runTests(tests, fetch, false, base, atOnce)
  } else {
    await runTests(tests, false, base, atOnce)
  }
}

await run('calm', only(test => !breaks(test)), 25)
await run('breaking', only(breaks), 4)
const { getResults } = await load(`${engine}client/runner.mjs`, '?calm')
console.log(JSON.stringify(getResults(), null, 2))
