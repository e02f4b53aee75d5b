// What clients of Postgres for Node.js get from a node: one function for each library.
// Arguments: the port, and the functions to run. The node has the tables that postgres.py describes.
// A line `restart` asks for a restart of the node, which is done when a line comes back.

const assert = require('node:assert')
const { once } = require('node:events')
const { Client, Pool, Query } = require('pg')
const Cursor = require('pg-cursor')
const postgres = require('postgres')

const [port, ...names] = process.argv.slice(2)
const options = { host: '127.0.0.1', port: Number(port), user: 'me', password: 'x', database: 'plant' }
const WHEN = new Date('2025-01-20T17:01:40.690Z')
const ROWS = 20_000
const MANY = 1_000_000
const BYTES_MAX = 100 << 20
const LONG = 'SELECT sum(a.v * b.v + sin(a.v + b.v)) FROM seq a, seq b WHERE a.v <> b.v'
const COLUMNS = 'name, temp, hum, n, "on", s, time'
const TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
const KINDS = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'room' ORDER BY 1"
const DESCRIBED = {
  hum: 'bigint', n: 'numeric', name: 'text', on: 'boolean', s: 'text', temp: 'double precision', time: 'timestamp with time zone',
}

async function restart() {
  console.log('restart')
  await once(process.stdin, 'data')
  process.stdin.pause()
}

async function pg() {
  const db = new Client({ ...options, application_name: 'node-pg' })
  await db.connect()
  const one = async (text, values) => (await db.query({ text, values, rowMode: 'array' })).rows[0]

  const { rows, fields } = await db.query(`SELECT ${COLUMNS} FROM room WHERE time >= $1 AND name = $2`, [WHEN, 'a'])
  assert.deepEqual(rows, [{ name: 'a', temp: 20.5, hum: '40', n: '7', on: true, s: 'x "y"', time: WHEN }])
  assert.deepEqual(fields.map((field) => field.name), ['name', 'temp', 'hum', 'n', 'on', 's', 'time'])
  assert.deepEqual((await db.query(TABLES)).rows.map((row) => row.table_name), ['gaps', 'room', 'seq'])
  const described = (await db.query(KINDS)).rows.map((row) => [row.column_name, row.data_type])
  assert.deepEqual(Object.fromEntries(described), DESCRIBED)

  assert.deepEqual(await one('SELECT count(*) FROM seq WHERE v = ANY($1)', [[1, 2, 3]]), ['3'])
  assert.deepEqual(await one('SELECT $1::int, $2::text, $3::text, $4::bool', [1, 'a', null, true]), [1, 'a', null, true])
  for (const least of [5, 7, 9]) {
    const { rows } = await db.query({ name: 'counted', text: 'SELECT count(*) AS n FROM seq WHERE v < $1', values: [least] })
    assert.deepEqual(rows, [{ n: String(least) }])
  }
  assert.equal((await db.query('SELECT v FROM seq')).rowCount, ROWS)
  assert.deepEqual((await db.query({ text: 'SELECT v FROM seq ORDER BY v LIMIT 2', rowMode: 'array' })).rows, [['0'], ['1']])
  assert.deepEqual((await db.query({ text: 'SELECT temp FROM room', binary: true })).rows, [{ temp: 20.5 }])
  const several = await db.query('SELECT 1 AS a; SELECT 2 AS b')
  assert.deepEqual(several.map((result) => result.rows), [[{ a: '1' }], [{ b: '2' }]])

  const cursor = db.query(new Cursor('SELECT v FROM seq WHERE v >= $1 ORDER BY v', [10]))
  assert.deepEqual((await cursor.read(2)).map((row) => row.v), ['10', '11'])
  assert.equal((await cursor.read(100_000)).length, ROWS - 12)
  assert.equal((await cursor.read(1)).length, 0)
  await cursor.close()

  for (const [text, code] of [
    ['SELEKT 1', '42601'],
    ['SELECT * FROM nope', '42P01'],
    ['SELECT nope FROM room', '42703'],
    ['SELECT 1 / 0', '22012'],
    ['INSERT INTO room VALUES (1)', '25006'],
  ]) {
    await assert.rejects(db.query(text), { code }, text)
    await assert.rejects(db.query({ text, values: [], queryMode: 'extended' }), { code }, text)
  }
  await db.query('SET statement_timeout = 300')
  await assert.rejects(db.query(LONG), { code: '57014' })
  await db.query('RESET statement_timeout')

  const begun = Date.now()
  const long = new Query(LONG)
  db.query(long)
  setTimeout(() => new Client(options).cancel(db, long), 300)
  const [error] = await once(long, 'error')
  assert.equal(error.code, '57014')
  assert.ok(Date.now() - begun < 5000)
  assert.deepEqual(await one('SELECT count(*) > 5 FROM system.queries WHERE application_name = $1', ['node-pg']), [true])

  await db.end()

  const pool = new Pool({ ...options, max: 3 })
  const lost = []
  pool.on('error', (error) => lost.push(error.code))
  const asked = await Promise.all([1, 2, 3, 4, 5].map((v) => pool.query('SELECT count(*) AS n FROM seq WHERE v < $1', [v])))
  assert.deepEqual(asked.map(({ rows }) => Number(rows[0].n)), [1, 2, 3, 4, 5])
  await restart()
  // Connections that rest are told of the stop, and the pool opens others.
  assert.ok(lost.includes('57P01'), lost.join())
  assert.deepEqual((await pool.query('SELECT count(*) AS n FROM seq')).rows, [{ n: String(ROWS) }])
  await pool.end()
}

async function porsager() {
  const sql = postgres({ ...options, max: 2, onnotice: () => {}, connection: { application_name: 'porsager' } })
  const rows = await sql`SELECT ${sql(['name', 'temp', 'hum', 'n', 'on', 's', 'time'])} FROM room WHERE name = ${'a'} AND time >= ${WHEN}`
  assert.deepEqual([...rows], [{ name: 'a', temp: 20.5, hum: '40', n: '7', on: true, s: 'x "y"', time: WHEN }])
  assert.deepEqual((await sql.unsafe(TABLES)).map((row) => row.table_name), ['gaps', 'room', 'seq'])
  const described = await sql`SELECT * FROM room`.describe()
  assert.deepEqual(described.columns.map((column) => column.name).sort(), Object.keys(DESCRIBED).sort())
  assert.deepEqual([...(await sql`SELECT count(*) AS n FROM seq WHERE v = ANY(${[1, 2, 3]})`)], [{ n: '3' }])
  assert.deepEqual([...(await sql`SELECT count(*) AS n FROM seq WHERE v IN ${sql([1, 2])}`)], [{ n: '2' }])

  let seen = 0
  await sql`SELECT v FROM seq ORDER BY v`.cursor(500, (part) => { seen += part.length })
  assert.equal(seen, ROWS)
  for await (const [row] of sql`SELECT v FROM seq ORDER BY v`.cursor()) {
    assert.equal(row.v, '0')
    break
  }
  seen = 0
  await sql`SELECT v FROM seq`.forEach(() => { seen += 1 })
  assert.equal(seen, ROWS)
  const copied = []
  for await (const part of await sql`COPY (SELECT v FROM seq ORDER BY v LIMIT 2) TO STDOUT`.readable()) copied.push(part)
  assert.equal(Buffer.concat(copied).toString(), '0\n1\n')

  await assert.rejects(sql`SELECT * FROM nope`, { code: '42P01' })
  await assert.rejects(sql.begin('READ ONLY', (tx) => tx`SELECT 1 / 0`), { code: '22012' })
  const both = await sql.begin((tx) => [tx`SELECT count(*) AS n FROM room`, tx`SELECT count(*) AS n FROM seq`])
  assert.deepEqual(both.map(([row]) => row.n), ['1', String(ROWS)])

  const long = sql.unsafe(LONG)
  setTimeout(() => long.cancel(), 300)
  const begun = Date.now()
  await assert.rejects(long, { code: '57014' })
  assert.ok(Date.now() - begun < 5000)

  await restart()
  assert.deepEqual([...(await sql`SELECT count(*) AS n FROM seq`)], [{ n: String(ROWS) }])
  await sql.end()
}

const peakBytes = () => process.resourceUsage().maxRSS * 1024

async function many() {
  const db = new Client(options)
  await db.connect()
  const begun = peakBytes()
  const cursor = db.query(new Cursor('SELECT v, k, f, time FROM million'))
  let [rows, sum] = [0, 0]
  for (;;) {
    const part = await cursor.read(2000)
    if (part.length === 0) break
    rows += part.length
    for (const row of part) sum += Number(row.v)
  }
  assert.deepEqual([rows, sum], [MANY, (MANY * (MANY - 1)) / 2])
  const grown = peakBytes() - begun
  assert.ok(grown < BYTES_MAX, `the client grew by ${grown >> 20} MiB`)
  await db.end()
}

const run = { pg, porsager, many }

async function main() {
  for (const name of names) {
    await run[name]()
    console.log(`${name}: ok`)
  }
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
