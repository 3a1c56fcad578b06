"""What the processes of a service tell each other while requests are under way: budgets, and which models are down."""
