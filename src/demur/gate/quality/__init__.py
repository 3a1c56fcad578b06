"""What the gate is worth: quality, strong share and cost of routing with it, believed or graded."""
