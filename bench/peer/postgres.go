package peer

// PostgresName is the peer whose DELETE is a mark of its own.
const PostgresName = "PostgreSQL by hand"
