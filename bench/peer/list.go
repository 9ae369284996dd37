package peer

// Embedded are the peers that need nothing but this process, Recall not among
// them.
var Embedded = append([]*Peer{SQLiteByHand, SQLiteGrouped, Goqite, NATS}, on64...)

// Services are those that need a program beside it, which they start.
var Services = []*Peer{PostgresByHand, RiverPostgres, RecallPostgres, Asynq}
