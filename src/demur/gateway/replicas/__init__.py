"""What several machines share through PostgreSQL while requests are under way: budgets, and which models are down."""
